"""The models on the Hub that carry our tag, with the numbers on their cards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from altub.hub.errors import explain_hub_errors
from altub.hub.fetch import Token
from altub.hub.reach import check_reachable

__all__ = ["TAG", "HubModel", "Listing", "find_models"]

TAG = "altub"
MOST = 50  # models of each kind
_EXPAND = ["author", "cardData", "downloads", "gated", "lastModified", "model-index", "private"]


@dataclass(frozen=True)
class HubModel:
    """One repo; metrics by the names that our cards give them, such as "pixel AUROC"."""

    repo: str
    private: bool
    gated: bool
    downloads: int
    changed: datetime | None
    metrics: dict[str, float]


@dataclass(frozen=True)
class Listing:
    """user: None if not signed in. own: the user's models; public: those of others, most downloaded first."""

    user: str | None
    own: list[HubModel]
    public: list[HubModel]


def find_models(token: Token = None) -> Listing:
    """The user's models and the public ones.

    Raises:
        HubError: the Hub cannot be reached, or does not accept the token.
    """
    from huggingface_hub import HfApi, get_token

    api = HfApi()
    with explain_hub_errors("the Hub", "list"):
        check_reachable()
        given = get_token() if token is None else token
        user = api.whoami(token=given)["name"] if given else None
        own = api.list_models(filter=TAG, author=user, limit=MOST, expand=_EXPAND, token=token) if user else []
        mine = [_model(info) for info in own]
        public = api.list_models(filter=TAG, sort="downloads", limit=MOST, expand=_EXPAND, token=False)
        others = [_model(info) for info in public if user is None or info.author != user]
    return Listing(user, mine, others)


def _model(info: Any) -> HubModel:
    return HubModel(
        repo=info.id,
        private=bool(info.private),
        gated=bool(info.gated),
        downloads=int(info.downloads or 0),
        changed=info.last_modified,
        metrics=_metrics(info),
    )


def _metrics(info: Any) -> dict[str, float]:
    """From the card's eval results; whatever is written differently there is passed over."""
    results = getattr(info.card_data, "eval_results", None) or []
    found = {}
    for result in results:
        value = result.metric_value
        if isinstance(value, int | float) and math.isfinite(value) and result.metric_name:
            found.setdefault(str(result.metric_name), float(value))
    return found
