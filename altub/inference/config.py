"""What a saved detector was built from; free of torch, so that a model can be described without loading it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from altub.data.images import PixelRange
from altub.flows.config import FlowConfig
from altub.inference.comparability import Comparability
from altub.inference.framing_settings import Aspect, framing_problem
from altub.inference.info import ModelInfo
from altub.inference.regions import Regions, kept_pixels

__all__ = ["DetectorConfig", "MapKind", "ModelConfig", "ModelVersion", "ScoreKind"]

MapKind = Literal["mixture", "likelihood", "nll"]
ScoreKind = Literal["range", "map"]
MOST_SCALES = 64  # of a feature pyramid; plain transformers have up to 48 blocks
Channels = Annotated[int, Field(ge=1, le=16_384)]
Side = Annotated[int, Field(ge=1, le=4096)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class DetectorConfig(BaseModel):
    """What it takes, beside the weights, to build a detector again."""

    # Bounded and finite throughout: a config.json may come from anywhere.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    backbone: str = Field(max_length=200)
    stages: tuple[Annotated[int, Field(ge=0, le=99)], ...] = Field(max_length=MOST_SCALES)
    backbone_sha256: Sha256
    image_size: int = Field(ge=32, le=16_384)
    tile: int = Field(0, ge=0, le=4096)  # models before 0.2 have neither tiles nor another aspect ratio
    overlap: int = Field(0, ge=0, le=2048)
    aspect: Aspect = "squash"
    shapes: tuple[tuple[Channels, Side, Side], ...] = Field(min_length=1, max_length=MOST_SCALES)
    flow: FlowConfig
    map_kind: MapKind
    smoothing: float = Field(ge=0, le=32)
    score_share: float = Field(0.0, ge=0, le=1)
    score_kind: ScoreKind = "map"  # of models of 0.1
    log_det_weight: float = Field(0.0, ge=0, le=1)
    pixel_range: PixelRange | None = None  # models of 0.1.0: every image by its own largest value
    regions: Regions = ()  # where it looks; earlier models look everywhere
    hides_outside: bool = False  # of it backbone, norm, flow and base see nothing; earlier: maps and scores alone

    @model_validator(mode="after")
    def _framing_is_possible(self) -> DetectorConfig:
        if problem := framing_problem(self):
            raise ValueError(problem)
        return self

    def sees(self, height: int, width: int) -> np.ndarray:
        """The pixels of images of this size that it looks at, bool (H, W)."""
        return kept_pixels(self.regions, height, width)

    @property
    def score_unit(self) -> str:
        """What a score counts in."""
        if self.score_kind == "range":
            return "log(1 + ranges of good images)"
        return "negative likelihood" if self.map_kind == "likelihood" else "nats per dimension"


class ModelVersion(BaseModel):
    """Which version of a model it is; see `altub.inference.versions`."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    number: int = Field(ge=1, le=1_000_000)
    created: float = Field(ge=0, le=1e11)  # seconds since 1970
    note: str = Field("", max_length=1000)  # what changed, in words
    author: str = Field("", max_length=200)
    kind: str = Field("changed", max_length=40)  # "trained", "threshold", "calibration", "adapted" or "changed"


class ModelConfig(BaseModel):
    """config.json of a saved model: what the model is, and what it tells of itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    weights_sha256: Sha256
    detector: DetectorConfig
    calibration: Annotated[dict[str, Any], Field(max_length=16)] | None  # without what is beside the weights
    threshold: Annotated[dict[str, Any], Field(max_length=16)] | None = None  # the model's own; else the calibration's
    version: ModelVersion | None = None  # None: as trained
    comparability: Comparability | None = None  # None: a model of an earlier version
    info: ModelInfo = ModelInfo()

    @field_validator("info", mode="before")
    @classmethod
    def _info_may_be_null(cls, info: Any) -> Any:
        return {} if info is None else info
