"""What a line of events.jsonl holds: one epoch of a training."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from altub.metrics import Metrics

__all__ = ["BaseDrift", "Curve", "EpochPhase", "EpochRecord", "Quantiles", "best_record", "curve", "parse_records"]

EpochPhase = Literal["start", "flow", "base", "both"]
Curve = list[tuple[int, float]]  # (epoch, value), in order


class _Record(BaseModel):
    # A later version may write more; what it adds is passed over. NaN and infinities are never written.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Quantiles(_Record):
    """Of a number over the channels of one base."""

    q05: float
    q25: float
    q50: float
    q75: float
    q95: float


class BaseDrift(_Record):
    """How far one base is from N(0, I): |mu| and |sigma - 1|."""

    mean: Quantiles
    std: Quantiles


class EpochRecord(_Record):
    """One epoch. Losses are negative log-likelihoods in nats per dimension; lists have one entry per feature scale.

    Example:
        >>> record = EpochRecord.model_validate_json('{"epoch": 2, "phase": "base", "test": {"pixel_auroc": 0.9}}')
        >>> record.base_trained, record.value("pixel_auroc"), record.value("held_out")
        (True, 0.9, None)
    """

    epoch: int = Field(ge=0, le=100_000)  # 0: before any training, what the features and their norm give alone
    phase: EpochPhase = "flow"  # what was updated; "both": flow epoch and base epoch in one; "start": nothing yet
    loss: float | None = None  # None: epoch 0 and an epoch of moments have no training loss
    loss_heads: list[float] | None = None
    held_out: float | None = None
    held_out_heads: list[float] | None = None
    base: list[BaseDrift] | None = None
    base_steps: int | None = Field(None, ge=0)  # updates of the base within the epoch
    test: Metrics | None = None  # None: not evaluated in this epoch, or there is no test set
    seconds: float | None = None
    images_per_second: float | None = None
    lr: float | None = None

    @property
    def base_trained(self) -> bool:
        """Was there a pass over the data, or a closed form, for the base alone?"""
        return self.phase in ("base", "both")

    @property
    def heads(self) -> int:
        """Feature scales whose base is recorded."""
        return len(self.base or ())

    def value(self, name: str) -> float | None:
        """The "loss", "held_out", "lr" or a test metric by its name; None where it was not measured.

        Raises:
            KeyError: there is no such value.
        """
        if name in ("loss", "held_out", "lr"):
            return getattr(self, name)
        return (self.test or Metrics()).value(name)

    def line(self) -> str:
        """As in events.jsonl, with its line feed; what was not set is left out."""
        return json.dumps(self.model_dump(mode="json", exclude_unset=True), allow_nan=False) + "\n"


def parse_records(text: str) -> list[tuple[str, EpochRecord]]:
    """The lines of events.jsonl that hold an epoch, each beside its record; damaged ones are left out."""
    found = []
    for line in text.split("\n"):
        with suppress(ValidationError):  # half a line of a killed trainer, or not a record at all
            found.append((line, EpochRecord.model_validate_json(line)))
    return found


def curve(records: Iterable[EpochRecord], name: str) -> Curve:
    """(epoch, value) of every epoch that has a value of this name; see `EpochRecord.value`."""
    points = ((record.epoch, record.value(name)) for record in records)
    return [(epoch, value) for epoch, value in points if value is not None]


def best_record(records: Iterable[EpochRecord]) -> EpochRecord | None:
    """The evaluated epoch with the highest pixel AUROC (image AUROC where there are no masks), so *chosen on the test
    set*; the first of equals. None where no epoch was evaluated."""

    def merit(record: EpochRecord) -> float:
        value = record.value("pixel_auroc")
        return value if value is not None else record.value("image_auroc") or 0.0

    return max((record for record in records if record.test is not None), key=merit, default=None)
