"""What a saved detector was built from; free of torch, so that a model can be described without loading it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from altub.flows.config import FlowConfig
from altub.inference.info import ModelInfo

__all__ = ["DetectorConfig", "MapKind", "ModelConfig"]

MapKind = Literal["likelihood", "nll"]


class DetectorConfig(BaseModel):
    """What it takes, beside the weights, to build a detector again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    stages: tuple[int, ...]
    backbone_sha256: str
    image_size: int = Field(ge=32, le=4096)
    shapes: tuple[tuple[int, int, int], ...]
    flow: FlowConfig
    map_kind: MapKind
    smoothing: float
    score_share: float = Field(0.0, ge=0, le=1)


class ModelConfig(BaseModel):
    """config.json of a saved model: what the model is, and what it tells of itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    weights_sha256: str
    detector: DetectorConfig
    calibration: dict[str, Any] | None  # what of the calibration is not beside the weights; None: not calibrated
    info: ModelInfo = ModelInfo()

    @field_validator("info", mode="before")
    @classmethod
    def _info_may_be_null(cls, info: Any) -> Any:
        return {} if info is None else info
