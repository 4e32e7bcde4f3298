"""Settings of a flow head; free of torch, so that they can be checked without loading it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    JsonValue,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from altub.errors import ConfigError
from altub.fields import setting
from altub.flows.registry import DEFAULT_FLOW, find_flow, flow_names, flows_with, get_flow

__all__ = ["Coupling", "FlowConfig", "FlowLoss", "Kernels", "Norm", "Permutation", "unknown_flow"]

_SINCE_0_2 = ("options", "coupling", "position_code")
_OF_POSITION_NORM = ("position_weight", "position_rank")
_UNKNOWN_FLOW = "unknown_flow"  # type of the validation error where a kind is not registered

Coupling = Literal["affine", "additive"]
FlowLoss = Literal["nll", "logsigmoid"]
Kernels = Literal["3x3", "3x3/1x1"]
Norm = Literal["position", "whiten", "channel", "layer", "layer-affine", "none"]
Permutation = Literal["hard", "soft"]


class FlowConfig(BaseModel):
    """Architecture of the heads: FastFlow (arXiv:2111.07677, its CNN configuration), CFLOW-AD (arXiv:2107.12571), or
    a kind of your own (:func:`altub.flows.register_flow`).

    Which settings matter depends on the kind, and so do some defaults: `FlowInfo.settings`, `FlowInfo.defaults`.
    `options` are settings of a head of your own: anything JSON-able, passed on as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = setting(
        DEFAULT_FLOW,
        "Flow",
        "Architecture of the flow.",
        group="flow",
        basic=True,
        choices=lambda: {name: get_flow(name).label for name in flow_names()},
        max_length=64,
    )
    steps: int = setting(8, "Coupling steps", "Coupling steps of each head.", group="flow", ge=1, le=64)
    hidden_ratio: float = setting(
        1.0,
        "Hidden width",
        "Hidden channels per input channel of a subnet; 2 for cflow.",
        group="flow",
        step=0.1,
        gt=0,
        le=4,
    )
    kernels: Kernels = setting(
        "3x3/1x1",
        "Kernels",
        "Convolution kernels of the coupling steps, in turn.",
        group="flow",
        flows=lambda: flows_with("kernels"),
    )
    coupling: Coupling = setting(
        "affine",
        "Coupling",
        "What a coupling step does to its half of the channels.",
        group="flow",
        choices={"affine": "scale and shift (as published)", "additive": "shift only (constant Jacobian)"},
        flows=lambda: flows_with("coupling"),
    )
    clamp: float = setting(
        2.0, "Scale limit", "Largest log-scale of a coupling step; 1.9 for cflow.", group="flow", step=0.1, gt=0, le=10
    )
    norm: Norm = setting(
        "position",
        "Feature norm",
        "Normalization of the features before the flow.",
        group="flow",
        choices={
            "position": "whitening by position",
            "whiten": "whitening, one for all positions",
            "channel": "per channel",
            "layer": "layer norm",
            "layer-affine": "layer norm, trained scale (as published)",
            "none": "none",
        },
    )
    position_code: int = setting(
        0,
        "Position code",
        "Channels that tell the subnets where in the image they are; 0 for none.",
        group="flow",
        step=4,
        flows=lambda: flows_with("position_code"),
        ge=0,
        le=1024,
        multiple_of=4,
    )
    position_weight: float = setting(
        0.5,
        "Position weight",
        "Whitening by position: share of a position's own covariance; the rest is that of all positions.",
        group="flow",
        step=0.1,
        ge=0,
        lt=1,
    )
    position_rank: int = setting(
        32,
        "Position rank",
        "Whitening by position: directions kept of a position's own covariance; the model's size grows with it.",
        group="flow",
        ge=1,
        le=1024,
    )
    condition: int = setting(
        128,
        "Position channels",
        "Channels of the position code.",
        group="flow",
        step=4,
        flows=lambda: flows_with("condition"),
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
        flows=lambda: flows_with("permutation"),
    )
    loss: FlowLoss = setting(
        "nll",
        "Loss",
        "What the flow minimizes.",
        group="flow",
        choices={"nll": "negative log-likelihood", "logsigmoid": "log-sigmoid (as published)"},
        flows=lambda: flows_with("loss"),
    )
    fibres: int = setting(
        1024,
        "Positions per step",
        "Feature positions in one optimizer step.",
        group="flow",
        flows=lambda: flows_with("fibres"),
        ge=16,
        le=1_048_576,
    )
    options: dict[str, JsonValue] = setting({}, "Options", "Settings of a head of your own, as JSON.", group="flow")

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(kind := values.get("kind"), str) and (info := find_flow(kind)):
            return {**info.defaults, **values}
        return values

    @field_validator("kind")
    @classmethod
    def _kind_is_registered(cls, kind: str) -> str:
        try:
            return get_flow(kind).name
        except ConfigError as error:
            sentence = str(error).rstrip(".")
            raise PydanticCustomError(_UNKNOWN_FLOW, "{sentence}", {"sentence": sentence}) from error

    @model_validator(mode="after")
    def _settings_fit_the_kind(self) -> FlowConfig:
        if (check := get_flow(self.kind).check) is not None:
            check(self)
        return self

    @model_serializer(mode="wrap")
    def _readable_before_0_2(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Leaves out options, where there are none, and on disk whatever changes nothing and 0.1 does not know."""
        values = handler(self)
        left_out = _SINCE_0_2 if info.mode_is_json() else ("options",)
        unused = _OF_POSITION_NORM if info.mode_is_json() and values.get("norm") != "position" else ()
        return {
            name: value
            for name, value in values.items()
            if name not in unused and (name not in left_out or value != FlowConfig.model_fields[name].default)
        }


def unknown_flow(error: ValidationError) -> str | None:
    """What to do where a configuration failed only because its kind of flow is not registered; else None."""
    first = error.errors(include_url=False)[0]
    return f"{first['msg']}." if first["type"] == _UNKNOWN_FLOW else None
