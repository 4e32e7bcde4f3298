"""Settings of a flow head; free of torch, so that they can be checked without loading it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["PAPERS", "FlowConfig", "FlowKind", "FlowLoss", "Kernels", "Norm", "Permutation"]

FlowKind = Literal["fastflow", "cflow"]
FlowLoss = Literal["nll", "logsigmoid"]
Kernels = Literal["3x3", "3x3/1x1"]
Norm = Literal["layer", "layer-affine", "channel", "whiten", "none"]
Permutation = Literal["hard", "soft"]

PAPERS = {"fastflow": ("FastFlow", "2111.07677"), "cflow": ("CFLOW-AD", "2107.12571")}  # name and arXiv number

_CFLOW_HEAD = {"hidden_ratio": 2.0, "clamp": 1.9}  # where CFLOW-AD's architecture differs from FastFlow's


class FlowConfig(BaseModel):
    """Architecture of the heads: FastFlow (arXiv:2111.07677, its CNN configuration) or CFLOW-AD (arXiv:2107.12571).

    `hidden_ratio` and `clamp` default to the kind's published values. `kernels` is FastFlow's alone; `condition`,
    `permutation`, `loss` and `fibres` are CFLOW's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FlowKind = "fastflow"
    steps: int = Field(8, ge=1, le=64)
    hidden_ratio: float = Field(1.0, gt=0, le=4)
    kernels: Kernels = "3x3/1x1"
    clamp: float = Field(2.0, gt=0, le=10)
    norm: Norm = "whiten"
    condition: int = Field(128, ge=4, le=1024, multiple_of=4)  # channels of the position code
    permutation: Permutation = "hard"
    loss: FlowLoss = "nll"
    fibres: int = Field(1024, ge=16, le=1_048_576)  # positions an optimiser step

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("kind") == "cflow":
            return {**_CFLOW_HEAD, **values}
        return values

    @model_validator(mode="after")
    def _settings_fit_the_kind(self) -> FlowConfig:
        if self.kind == "cflow" and self.norm == "layer-affine":
            raise ValueError("layer-affine trains with whole maps, but cflow sees single positions: take another norm")
        if self.kind == "fastflow" and (self.permutation, self.loss) != ("hard", "nll"):
            raise ValueError("fastflow has hard permutations and the nll loss; others are for cflow")
        return self
