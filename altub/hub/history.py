"""training.json: the curves of a training and the drift of its base, so that a pulled run shows them too."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from altub.runs.run import Run
from altub.training.records import EpochPhase, EpochRecord

__all__ = ["History", "pack_history", "unpack_history"]

VERSION = 1
MOST_VALUES = 4_000_000  # of the base over all epochs; a longer history travels without it
DIGITS = 5  # behind the point; a picture of the drift shows three


class _PushedRecord(EpochRecord):
    """From outside: it must say what it is."""

    phase: EpochPhase


class _Head(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    mean: list[list[float]]
    log_std: list[list[float]]

    @field_validator("mean", "log_std")
    @classmethod
    def _is_a_table(cls, rows: list[list[float]]) -> list[list[float]]:
        if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
            raise ValueError("rows of different lengths")
        return rows


class History(BaseModel):
    """Events, one an epoch, and per head the base over the epochs."""

    version: Literal[1]
    events: list[_PushedRecord]
    base_history: list[_Head] = []

    def base_arrays(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `Run.write_base_history` takes them."""
        return [(np.asarray(h.mean, np.float32), np.asarray(h.log_std, np.float32)) for h in self.base_history]


def pack_history(run: Run) -> bytes | None:
    """The curves of a run as JSON; None where it has none."""
    records = run.events(start=True)
    if not records:
        return None
    heads: Sequence[tuple[np.ndarray, np.ndarray]] = run.base_history()
    if sum(mean.size + log_std.size for mean, log_std in heads) > MOST_VALUES:
        heads = []
    events = [record.model_dump(mode="json", exclude_unset=True) for record in records]
    value = {"version": VERSION, "events": events, "base_history": [_rounded(*head) for head in heads]}
    return (json.dumps(value, allow_nan=False) + "\n").encode()


def unpack_history(content: bytes) -> History | None:
    """What `pack_history` wrote; None where it is damaged: a model is as good without its curves."""
    try:
        return History.model_validate_json(content)
    except ValidationError:
        return None


def _rounded(mean: np.ndarray, log_std: np.ndarray) -> dict[str, Any]:
    def table(values: np.ndarray) -> list[list[float]]:
        return [[round(v, DIGITS) if math.isfinite(v) else 0.0 for v in row] for row in values.astype(float).tolist()]

    return {"mean": table(mean), "log_std": table(log_std)}
