"""What a training is made of: validated settings and the presets to start from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from altub.errors import ConfigError
from altub.flows.config import FlowConfig
from altub.inference.config import MapKind
from altub.inference.info import ModelInfo
from altub.training.schedule import BaseSchedule

__all__ = ["CFLOW_DEFAULTS", "PRESETS", "Preset", "TrainingConfig", "make_config", "parse_stages"]

Augmentation = Literal["hflip", "vflip", "rot90"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingConfig(_Settings):
    """One training, complete: with the same data and machine kind it gives the same model again."""

    data: str = "sample"
    category: str
    # The frozen feature pyramid. stages None = the backbone's usual ones.
    backbone: str = "auto"
    stages: tuple[int, ...] | None = None
    image_size: int = Field(256, ge=32, le=4096)
    augment: tuple[Augmentation, ...] = ()
    # The flow and its optimiser (Adam).
    flow: FlowConfig = FlowConfig()
    epochs: int = Field(20, ge=1, le=100_000)
    batch_size: int = Field(32, ge=1, le=4096)
    lr: float | None = Field(None, gt=0, le=1)  # None = the flow's usual one, 1e-2 on the filter bank's few channels
    lr_schedule: Literal["constant", "cosine"] = "cosine"
    lr_warmup: int = Field(0, ge=0)  # epochs in which the rate rises linearly from a tenth
    lr_final: float = Field(0.0, ge=0, le=1)  # where the cosine ends, as a share of lr
    weight_decay: float = Field(1e-5, ge=0, le=1)
    # AltUB: when and how the base moves.
    base: BaseSchedule = BaseSchedule()
    # Good images that are never trained on: they give the held-out loss and the calibration.
    held_out: float = Field(0.1, gt=0, le=0.5)
    # From z to one map and one score.
    map_kind: MapKind = "likelihood"
    smoothing: float = Field(4.0, ge=0, le=32)  # standard deviation in pixels of the map, 0 = off
    score_share: float = Field(0.01, ge=0, le=1)  # of the highest pixels, whose mean is the score; 0 = the maximum
    seed: int = Field(0, ge=0, lt=2**63)
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    evaluate_every: int = Field(1, ge=1)  # epochs between evaluations on the test set; the last one always counts

    @field_validator("stages")
    @classmethod
    def _stages_ascend(cls, stages: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if stages is not None and (
            not stages or list(stages) != sorted(set(stages)) or min(stages) < 0 or max(stages) > 99
        ):
            raise ValueError("stages are different whole numbers in ascending order, such as 1,2,3")
        return stages

    @field_validator("device")
    @classmethod
    def _device_is_known(cls, device: str) -> str:
        kind, _, index = device.partition(":")
        if kind not in ("auto", "cpu", "cuda", "mps") or (index and not index.isdigit()):
            raise ValueError("device is auto, cpu, cuda, cuda:<number> or mps")
        return device

    @classmethod
    def of_model(cls, info: ModelInfo, data: str = "sample") -> TrainingConfig | None:
        """The settings that a model was trained with, on images in `data`; None where it does not tell.

        Raises:
            pydantic.ValidationError: they are no settings of this version.
        """
        return None if info.training is None else cls.model_validate({**info.training, "data": data})

    @property
    def notes(self) -> list[str]:
        """What a user should know about these settings before they wait for the result."""
        base = self.base
        if base.base_update == "off" or base.interval_unit == "step" or base.first_base_epoch <= self.epochs:
            return []
        return [
            f"The base gets no turn of its own: its first would be epoch {base.first_base_epoch}, but training "
            f"ends after {self.epochs}. Lower the interval or the warm-up, or train longer."
        ]


class Preset(_Settings):
    """A named starting point: a title and a sentence for people, and the settings that differ from the defaults."""

    title: str
    about: str
    settings: dict[str, Any]


# How long and how fast FastFlow was trained (arXiv:2111.07677), with reading B of AltUB by epoch.
_PUBLISHED = {
    "epochs": 500,
    "lr": 1e-3,
    "lr_schedule": "constant",
    "smoothing": 0.0,
    "score_share": 0.0,
    "base": {
        "base_update": "gradient",
        "interval": 5,
        "joint": True,
        "optimizer": "adam",
        "lr": 0.05,
    },
}
_TRANSFORMER_FLOW = {"steps": 20, "hidden_ratio": 0.16, "kernels": "3x3/1x1", "norm": "none"}

# CFLOW-AD (arXiv:2107.12571): 25 x 8 epochs, soft permutations, features as they are.
_PUBLISHED_CFLOW = {
    **_PUBLISHED,
    "epochs": 200,
    "lr": 2e-4,
    "lr_schedule": "cosine",
    "lr_warmup": 16,
    "lr_final": 1e-3,
    "weight_decay": 0.0,
    "flow": {"kind": "cflow", "norm": "none", "permutation": "soft", "loss": "logsigmoid", "fibres": 256},
}

PRESETS: dict[str, Preset] = {
    "quick-look": Preset(
        title="Quick look",
        about="A first result within minutes on a CPU: the best backbone to be had here, 256 px, 20 epochs.",
        settings={},
    ),
    "fastflow-resnet18": Preset(
        title="Paper FastFlow (resnet18)",
        about="The published FastFlow on resnet18 with AltUB: 3x3 subnets, LayerNorm with affine, 500 epochs.",
        settings={
            "backbone": "resnet18.tv_in1k",
            "stages": (1, 2, 3),
            **_PUBLISHED,
            "flow": {"kernels": "3x3", "norm": "layer-affine"},
        },
    ),
    "fastflow-wrn50": Preset(
        title="Wide (wide_resnet50_2)",
        about="The published FastFlow on wide_resnet50_2 with AltUB: the best of the CNNs; wants a GPU.",
        settings={
            "backbone": "wide_resnet50_2.racm_in1k",
            "stages": (1, 2, 3),
            **_PUBLISHED,
            "flow": {"kernels": "3x3/1x1", "norm": "layer-affine"},
        },
    ),
    "fastflow-deit": Preset(
        title="DeiT (transformer, 384 px)",
        about="The published FastFlow on DeiT features at 24 x 24 with AltUB; wants a GPU.",
        settings={
            "backbone": "deit_base_distilled_patch16_384",
            "image_size": 384,
            **_PUBLISHED,
            "flow": _TRANSFORMER_FLOW,
        },
    ),
    "fastflow-cait": Preset(
        title="CaiT (transformer, 448 px)",
        about="The published FastFlow on CaiT features at 28 x 28 with AltUB; wants a GPU with much memory.",
        settings={
            "backbone": "cait_m48_448",
            "image_size": 448,
            **_PUBLISHED,
            "flow": _TRANSFORMER_FLOW,
        },
    ),
    "cflow-resnet18": Preset(
        title="Paper CFLOW-AD (resnet18)",
        about="The published CFLOW-AD on resnet18's stages 2, 3 and 4 with AltUB: 200 epochs; wants a GPU.",
        settings={"backbone": "resnet18.tv_in1k", "stages": (2, 3, 4), **_PUBLISHED_CFLOW},
    ),
    "cflow-wrn50": Preset(
        title="Paper CFLOW-AD (wide_resnet50_2)",
        about="The published CFLOW-AD on wide_resnet50_2 with AltUB: the paper's best on images; wants a GPU.",
        settings={"backbone": "wide_resnet50_2.tv_in1k", "stages": (2, 3, 4), **_PUBLISHED_CFLOW},
    ),
}

# Where CFLOW-AD's short training differs from FastFlow's: one epoch holds hundreds of optimiser steps.
CFLOW_DEFAULTS: dict[str, Any] = {"epochs": 6, "base": {"interval": 2}}


def make_config(preset: str | None = None, **settings: Any) -> TrainingConfig:
    """A validated configuration from a preset and settings that override it; nested ones may be partial.

    `flow` and `base` are merged key by key, but what a preset says about another kind of flow is dropped. None means
    "not given", except for `base["lr"]`, where it is a value.

    Raises:
        ConfigError: unknown preset, unknown setting or a value out of range, in one sentence.
    """
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"There is no preset {preset!r}; choose one of {', '.join(PRESETS)}.")
    merged: dict[str, Any] = {} if preset is None else dict(PRESETS[preset].settings)
    given_flow = settings.get("flow")
    kind = given_flow.get("kind") if isinstance(given_flow, dict) else None
    if kind is not None and kind != merged.get("flow", {}).get("kind", "fastflow"):
        merged = {key: value for key, value in merged.items() if key != "flow"}
        if kind == "cflow":
            merged = {**CFLOW_DEFAULTS, **merged}
    for key, value in settings.items():
        if value is None:
            continue
        if key in ("flow", "base") and isinstance(value, dict):
            # base.lr = None says something: the rate follows the flow's.
            merged[key] = {**merged.get(key, {}), **{k: v for k, v in value.items() if v is not None or k == "lr"}}
        else:
            merged[key] = value
    try:
        return TrainingConfig.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from error


def parse_stages(text: str | None) -> tuple[int, ...] | None:
    """ "1,2,3" -> (1, 2, 3); empty or None -> None."""
    if text is None or not text.strip():
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"Stages are whole numbers with commas, such as 1,2,3, not {text!r}.") from None


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "settings"
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = first.get("input")
    shown = f" (given: {given!r})" if first["loc"] and not isinstance(given, dict | BaseModel) else ""
    return f"{where}: {message}{shown}."
