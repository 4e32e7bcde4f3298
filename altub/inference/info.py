"""What a saved model tells of itself beside its weights: where it comes from, how good it is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from altub.metrics import Metrics

__all__ = ["ImageCounts", "ModelInfo"]


class ImageCounts(BaseModel):
    """How many images a model was made from. None: not known."""

    model_config = ConfigDict(extra="allow")

    trained: int | None = Field(None, ge=0, le=1 << 40)
    held_out: int | None = Field(None, ge=0, le=1 << 40)
    test: int | None = Field(None, ge=0, le=1 << 40)


class ModelInfo(BaseModel):
    """`info` in a model's config.json. Entries of one's own, and of later versions, are kept.

    Example:
        >>> ModelInfo(category="bottle", note="line 3").to_json()
        {'category': 'bottle', 'note': 'line 3'}
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    category: str = Field("unknown", max_length=1000)
    epoch: int = Field(0, ge=0, le=100_000)  # epochs that it was trained
    metrics: Metrics | None = None  # on the test set after `epoch`; None: not evaluated
    held_out: float | None = None  # NLL of held-out good images, nats per dimension
    training: dict[str, Any] | None = None  # a TrainingConfig without its data, which says where images lie
    images: ImageCounts | None = None
    data: str | None = Field(None, max_length=1000)  # only of a pushed model: "sample", "mvtec-ad" or "own"

    def to_json(self) -> dict[str, Any]:
        """As it stands in config.json; what was not set is left out."""
        return self.model_dump(mode="json", exclude_unset=True)

    @property
    def measured(self) -> dict[str, float]:
        """The test metrics that have a value, by name."""
        return self.metrics.measured() if self.metrics else {}
