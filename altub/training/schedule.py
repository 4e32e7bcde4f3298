"""The alternation: which epochs and steps belong to the flow, and which to the base.

AltUB (arXiv:2210.14913) trains the flow and its base N(mu, Sigma) in turns. No official image code is known, and the
implementations that exist differ; all of them are settings of one small schedule:

| variant         | interval | outside base epochs | base update                                        | warm-up   |
|-----------------|----------|---------------------|----------------------------------------------------|-----------|
| author-tabular  | 5 epochs | both train (joint)  | SGD, lr 5 x the flow's, gradients clipped by value | 20 epochs |
| public-fastflow | 5 steps  | both train (joint)  | Adam, lr 0.05, gradient norm clipped at 100        | none      |
| strict          | 5 epochs | flow alone          | Adam, lr 0.05, gradient norm clipped at 100        | none      |

author-tabular is the code of the paper's first author for tabular data, public-fastflow a public FastFlow with AltUB.
They were called A, B and C. The default is public-fastflow's optimizer, every 2nd epoch and on top of the flow's.

"moments" is ours: with the flow frozen, the best mu and sigma are the mean and standard deviation of z over the
training set, so that a base epoch is one pass without gradients and has no learning rate.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from altub.fields import AUTOMATIC, setting

__all__ = [
    "FORMER_VARIANTS",
    "VARIANTS",
    "VARIANT_TITLES",
    "BaseSchedule",
    "Phase",
    "current_variant",
]

Phase = Literal["flow", "base"]


class BaseSchedule(BaseModel):
    """When the base is updated, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_update: Literal["gradient", "moments", "off"] = setting(
        "gradient",
        "Base update",
        "gradient: an optimizer of its own; moments: exact mean and spread of z from one pass over the data; "
        "off: the plain flow with base N(0, I).",
        group="base",
        basic=True,
        choices={"gradient": "Gradient", "moments": "Moments", "off": "Off"},
    )
    interval: int = setting(2, "Interval", "Update the base every N epochs (or steps).", group="base", ge=1)
    interval_unit: Literal["epoch", "step"] = setting(
        "epoch",
        "Interval unit",
        "Unit of interval and warm-up.",
        group="base",
        choices={"epoch": "epochs", "step": "steps"},
    )
    on_top: bool = setting(
        True,
        "Base epochs",
        "Whether base epochs (or steps) replace flow epochs or follow them, at no cost to the flow's training.",
        group="base",
        choices={False: "replace flow epochs", True: "follow flow epochs"},
    )
    warmup: int = setting(0, "Base warm-up", "Epochs (or steps) before the base moves.", group="base", ge=0)
    joint: bool = setting(
        True,
        "In flow epochs",
        "Whether the base trains outside its own epochs (or steps) too; gradient only.",
        group="base",
        choices={True: "base trains too (joint)", False: "base frozen (strict)"},
    )
    optimizer: Literal["adam", "sgd"] = setting(
        "adam", "Base optimizer", "Optimizer of the base.", group="base", choices={"adam": "Adam", "sgd": "SGD"}
    )
    lr: Annotated[float | None, AUTOMATIC] = setting(
        0.05,
        "Base learning rate",
        "Learning rate in base epochs.",
        group="base",
        step=0.01,
        automatic="the flow's rate times the factor",
        gt=0,
        le=10,
    )
    lr_factor: float = setting(
        5.0,
        "Base rate factor",
        "Multiple of the flow's rate, used if the base's own is auto.",
        group="base",
        step=0.5,
        gt=0,
    )
    clip: Literal["norm", "value", "off"] = setting(
        "norm", "Gradient clipping", "How the base's gradient is clipped at 100.", group="base"
    )

    @model_validator(mode="after")
    def _moments_are_of_the_whole_set(self) -> BaseSchedule:
        if self.base_update == "moments" and self.interval_unit == "step":
            raise ValueError(
                "moments are taken over the whole training set, so their interval counts epochs: "
                "set interval_unit to epoch"
            )
        return self

    @property
    def first_base_epoch(self) -> int:
        """The first base epoch (from 1), where the unit is the epoch."""
        return (self.warmup // self.interval + 1) * self.interval

    def epoch_turns(self, epoch: int) -> tuple[Phase, ...]:
        """The passes over the data in `epoch` (from 1), and who is trained in each; by step it is always the flow."""
        return ("flow",) if self.interval_unit == "step" else self._turns(epoch)

    def step_turns(self, step: int) -> tuple[Phase, ...]:
        """Who is trained in global training step `step` (from 1) of a flow epoch."""
        return ("flow",) if self.interval_unit == "epoch" else self._turns(step)

    def base_joins_flow(self, epoch: int, step: int) -> bool:
        """Is the base trained together with the flow at this epoch and global step?"""
        now = step if self.interval_unit == "step" else epoch
        return self.base_update == "gradient" and self.joint and now > self.warmup

    def _turns(self, index: int) -> tuple[Phase, ...]:
        if self.base_update == "off" or index <= self.warmup or index % self.interval:
            return ("flow",)
        return ("flow", "base") if self.on_top else ("base",)


# What is published about the alternation, by what it is.
VARIANTS: dict[str, dict[str, Any]] = {
    "author-tabular": {
        "base_update": "gradient",
        "interval": 5,
        "interval_unit": "epoch",
        "on_top": False,
        "warmup": 20,
        "joint": True,
        "optimizer": "sgd",
        "lr": None,
        "clip": "value",
    },
    "public-fastflow": {
        "base_update": "gradient",
        "interval": 5,
        "interval_unit": "step",
        "on_top": False,
        "warmup": 0,
        "joint": True,
        "optimizer": "adam",
        "lr": 0.05,
        "clip": "norm",
    },
    "strict": {
        "base_update": "gradient",
        "interval": 5,
        "interval_unit": "epoch",
        "on_top": False,
        "warmup": 0,
        "joint": False,
        "optimizer": "adam",
        "lr": 0.05,
        "clip": "norm",
    },
}
VARIANT_TITLES = {
    "author-tabular": "Authors' tabular code: every 5th epoch, SGD, 20 epochs warm-up",
    "public-fastflow": "Public FastFlow: every 5th step, Adam, joint",
    "strict": "Strict alternation: every 5th epoch, Adam",
}
# Earlier names; studies on disk have them in the names of their runs.
FORMER_VARIANTS = {"A": "author-tabular", "B": "public-fastflow", "C": "strict"}


def current_variant(name: str) -> str:
    """The name that a variant has today: "A" -> "author-tabular"; others as they are."""
    return FORMER_VARIANTS.get(name, name)
