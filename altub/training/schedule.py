"""The alternation: which epochs and steps belong to the flow, and which to the base.

AltUB (arXiv:2210.14913) trains the flow and its base N(mu, Sigma) in turns. No official image code is known, and the
readings that exist differ; all of them are settings of one small schedule:

| reading | unit, interval | flow turn             | base turn                                          | warm-up   |
|---------|----------------|-----------------------|----------------------------------------------------|-----------|
| A       | epoch, 5       | flow and base (joint) | SGD, lr 5 x the flow's, gradients clipped by value | 20 epochs |
| B       | step, 5        | flow and base (joint) | Adam, lr 0.05, gradient norm clipped at 100        | none      |
| C       | epoch, 5       | flow alone (strict)   | Adam, lr 0.05, gradient norm clipped at 100        | none      |

The default is reading B's optimiser with epochs as its unit.

"moments" is ours: with the flow frozen, the best mu and sigma are the mean and standard deviation of z over the
training set, so that a base turn is one pass without gradients and has no learning rate.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["READINGS", "BaseSchedule", "Phase"]

Phase = Literal["flow", "base"]


class BaseSchedule(BaseModel):
    """When the base moves (`interval`, `warmup`, in `interval_unit`s) and how (`base_update`).

    base_update: "gradient", "moments", or "off" for the plain flow with base N(0, I).
    interval: every interval-th epoch (or step) is the base's turn; the flow is frozen in it.
    on_top: the base's turn follows the flow's epoch (or step) instead of taking its place, so that the flow learns as
        long as it would without a learnable base.
    warmup: epochs (or steps) at the start during which the base stays at N(0, I).
    joint: outside its own turn the base is trained together with the flow (gradient only).
    lr: learning rate of the base's turn; None = `lr_factor` times the flow's current one.
    clip: "norm" or "value" at 100, or "off".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_update: Literal["gradient", "moments", "off"] = "gradient"
    interval: int = Field(5, ge=1)
    interval_unit: Literal["epoch", "step"] = "epoch"
    on_top: bool = False
    warmup: int = Field(0, ge=0)
    joint: bool = True
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float | None = Field(0.05, gt=0, le=10)
    lr_factor: float = Field(5.0, gt=0)
    clip: Literal["norm", "value", "off"] = "norm"

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
        """The first epoch (from 1) that is the base's turn, where the unit is the epoch."""
        return (self.warmup // self.interval + 1) * self.interval

    def epoch_turns(self, epoch: int) -> tuple[Phase, ...]:
        """Who learns in `epoch` (from 1), a pass over the data each; by step, every epoch counts as the flow's."""
        return ("flow",) if self.interval_unit == "step" else self._turns(epoch)

    def step_turns(self, step: int) -> tuple[Phase, ...]:
        """Who learns in global training step `step` (from 1) of an epoch of the flow."""
        return ("flow",) if self.interval_unit == "epoch" else self._turns(step)

    def base_joins_flow(self, epoch: int, step: int) -> bool:
        """Does the base take part in the flow's turn at this epoch and global step?"""
        now = step if self.interval_unit == "step" else epoch
        return self.base_update == "gradient" and self.joint and now > self.warmup

    def _turns(self, index: int) -> tuple[Phase, ...]:
        if self.base_update == "off" or index <= self.warmup or index % self.interval:
            return ("flow",)
        return ("flow", "base") if self.on_top else ("base",)


READINGS: dict[str, dict[str, Any]] = {
    "A": {
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
    "B": {
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
    "C": {
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
