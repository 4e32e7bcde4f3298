"""What of a model can follow the line, and how long each way takes; see `altub.training.adaptation`."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["FLOW_EPOCHS", "FOLDS", "TRAINED", "WAYS", "Way", "moves_base", "passes_of"]

Way = Literal[
    "base",
    "norm-full",
    "norm-full+base",
    "norm-position",
    "norm-channel",
    "norm-channel+base",
    "norm-position+base",
    "flow",
]
WAYS: tuple[Way, ...] = get_args(Way)

FOLDS = 4
FLOW_EPOCHS = 4  # of training the flow on today's images; then its base follows
TRAINED = 3  # passes that training on an image takes as long as: forward, and backward to weights and inputs


def passes_of(way: Way, count: int) -> int:
    """How many passes of an image through the flow this way takes with `count` images: about what its time goes by."""
    # Each image is scored by the model as it was and by one that has not seen it. It moves the models of all folds but
    # its own, and the last one.
    trained = FLOW_EPOCHS * TRAINED if way == "flow" else 0
    return count * (2 + FOLDS * (trained + moves_base(way)))


def moves_base(way: Way) -> bool:
    """Does the base follow? AltUB's alternation, one turn each: where the flow has moved, the base follows it."""
    return way == "flow" or way.endswith("base")
