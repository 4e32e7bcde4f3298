"""Where a training stands: what exact resume needs beside weights and optimiser states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import BaseModel, Field

from altub.errors import AltUBError
from altub.training.losses import LossReader

__all__ = ["EpochSums", "NonFiniteLossError", "TrainingState"]


class NonFiniteLossError(AltUBError):
    """The loss became NaN or infinite; the last good state is kept."""


@dataclass
class EpochSums:
    """What the running epoch has added up so far; part of the checkpoint, so that a stop within it loses nothing.

    Attributes:
        images: images that count in the loss.
        heads: per scale the negative log-likelihood in nats, summed over those images.
        base_steps: updates of the base alone.
        seconds: spent in steps.
    """

    images: int = 0
    heads: list[float] = field(default_factory=list)
    base_steps: int = 0
    seconds: float = 0.0

    def add(self, nll: Sequence[float], images: int) -> None:
        """Adds a batch: per scale its mean NLL in nats, and its number of images."""
        self.heads = [a + b * images for a, b in zip(self.heads or [0.0] * len(nll), nll, strict=True)]
        self.images += images

    def means(self) -> list[float] | None:
        """Per scale the mean NLL in nats; None before the first batch."""
        return [total / self.images for total in self.heads] if self.images else None


@dataclass
class TrainingState:
    """Counters of a training.

    Attributes:
        steps_per_pass: steps of one pass over the training images; an epoch has a pass for every turn in it.
        epoch: epochs completed.
        step: steps of the running epoch completed, over all of its passes.
        sums: of the running epoch.
        losses: of its steps, as far as they are not in `sums` yet.
    """

    steps_per_pass: int
    epoch: int = 0
    step: int = 0
    sums: EpochSums = field(default_factory=EpochSums)
    losses: LossReader = field(default_factory=LossReader)

    @classmethod
    def start(cls, images: int, batch_size: int) -> TrainingState:
        """Before the first step on so many images."""
        return cls(steps_per_pass=math.ceil(images / batch_size))

    def take_losses(self, wait: bool = False) -> None:
        """Adds up the losses that the device has computed by now; with `wait`, those of all steps.

        Raises:
            NonFiniteLossError: one is infinite or NaN.
        """
        for nll, images in self.losses.arrived(wait):
            if not all(map(math.isfinite, nll)):
                raise self.non_finite()
            self.sums.add(nll, images)

    def non_finite(self) -> NonFiniteLossError:
        """The error of a running epoch that has no finite loss."""
        kept = f"the model and checkpoint of epoch {self.epoch} are kept" if self.epoch else "nothing was saved yet"
        return NonFiniteLossError(
            f"The loss became infinite or NaN in epoch {self.epoch + 1}; {kept}. "
            "Lower the learning rate, or use precision fp32, and start again."
        )

    def finish_epoch(self) -> None:
        self.epoch, self.step, self.sums = self.epoch + 1, 0, EpochSums()

    def counters(self) -> dict[str, Any]:
        """For the checkpoint, JSON-able.

        Raises:
            NonFiniteLossError: as `take_losses`; nothing of such a state is to be kept.
        """
        self.take_losses(wait=True)
        return {"epoch": self.epoch, "step": self.step, "steps": self.steps_per_pass, "sums": asdict(self.sums)}

    def restore(self, counters: dict[str, Any]) -> None:
        """Puts the counters of a checkpoint in place of these.

        Raises:
            ValueError: they are not a training's, or of another number of images.
        """
        found = _Counters.model_validate(counters)
        if found.steps != self.steps_per_pass:
            raise ValueError(f"an epoch had {found.steps} steps and has {self.steps_per_pass} now")
        self.epoch, self.step, self.sums = found.epoch, found.step, found.sums


class _Counters(BaseModel):
    """What a checkpoint may hold: nothing of it is believed unseen."""

    epoch: int = Field(ge=0, le=100_000)
    step: int = Field(ge=0, le=1 << 40)
    steps: int = Field(ge=1, le=1 << 40)
    sums: EpochSums
