"""What a saved detector was built from; free of torch, so that a model can be described without loading it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from altub.flows.config import FlowConfig

__all__ = ["DetectorConfig", "MapKind"]

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
