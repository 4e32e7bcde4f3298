"""Settings of a flow head; free of torch, so that they can be checked without loading it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from altub.fields import setting

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

    kind: FlowKind = setting(
        "fastflow",
        "Flow",
        "Architecture of the flow.",
        group="flow",
        basic=True,
        choices={"fastflow": "FastFlow: whole maps", "cflow": "CFLOW-AD: position by position"},
    )
    steps: int = setting(8, "Coupling steps", "Coupling steps of each head.", group="flow", ge=1, le=64)
    hidden_ratio: float = setting(
        1.0,
        "Hidden width",
        "Hidden channels of a coupling step's network, as a multiple of its input; 2 for cflow.",
        group="flow",
        step=0.1,
        gt=0,
        le=4,
    )
    kernels: Kernels = setting(
        "3x3/1x1", "Kernels", "Convolution kernels of the coupling steps, in turn.", group="flow", flows=("fastflow",)
    )
    clamp: float = setting(
        2.0, "Scale limit", "Largest log-scale of a coupling step; 1.9 for cflow.", group="flow", step=0.1, gt=0, le=10
    )
    norm: Norm = setting(
        "whiten",
        "Feature norm",
        "Normalization of the features before the flow.",
        group="flow",
        choices={
            "layer": "layer norm",
            "layer-affine": "layer norm, trained scale (as published)",
            "channel": "per channel",
            "whiten": "whitening",
            "none": "none",
        },
    )
    condition: int = setting(
        128,
        "Position channels",
        "Channels of the position code that the flow is conditioned on.",
        group="flow",
        step=4,
        flows=("cflow",),
        ge=4,
        le=1024,
        multiple_of=4,
    )
    permutation: Permutation = setting(
        "hard",
        "Permutation",
        "How channels are mixed between coupling steps.",
        group="flow",
        choices={"hard": "exchange channels", "soft": "rotate (as published, twice the size)"},
        flows=("cflow",),
    )
    loss: FlowLoss = setting(
        "nll",
        "Loss",
        "What the flow minimizes.",
        group="flow",
        choices={"nll": "negative log-likelihood", "logsigmoid": "log-sigmoid (as published)"},
        flows=("cflow",),
    )
    fibres: int = setting(
        1024,
        "Positions per step",
        "Feature positions (fibres) in one optimizer step.",
        group="flow",
        flows=("cflow",),
        ge=16,
        le=1_048_576,
    )

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
