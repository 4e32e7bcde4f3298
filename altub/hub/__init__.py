"""Models travel: pushed to the Hugging Face Hub with a card, pulled from it into a run directory.

    push          one commit: config.json, model.safetensors, the card and its pictures, the training's curves
    pull          a model of the Hub becomes a run that Inspect offers at once
    fetch_model   its files in the Hugging Face cache, checked before anything is built
    find_models   the user's models and the public ones that carry our tag

Nothing here reads or writes a pickle, and no image leaves this machine unless `include_examples` is given.
"""

from __future__ import annotations

from altub.hub.errors import HubError
from altub.hub.fetch import Snapshot, fetch_model
from altub.hub.listing import HubModel, Listing, find_models
from altub.hub.pull import pull
from altub.hub.push import PushResult, push
from altub.hub.reference import Reference, parse_reference

__all__ = [
    "HubError",
    "HubModel",
    "Listing",
    "PushResult",
    "Reference",
    "Snapshot",
    "fetch_model",
    "find_models",
    "parse_reference",
    "pull",
    "push",
]
