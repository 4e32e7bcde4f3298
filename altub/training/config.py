"""What a training is made of: validated settings and the presets to start from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from altub.backbones.catalogue import backbone_titles
from altub.errors import ConfigError, validation_problem
from altub.fields import AUTOMATIC, setting
from altub.flows.config import FlowConfig
from altub.flows.registry import DEFAULT_FLOW, get_flow
from altub.inference.config import MapKind, ScoreKind
from altub.inference.framing_settings import Aspect, framing_problem
from altub.inference.info import ModelInfo
from altub.inference.regions import Region, Regions, inspected_pixels
from altub.training.presets import PRESETS, Preset
from altub.training.schedule import BaseSchedule

__all__ = ["PRESETS", "Preset", "TrainingConfig", "make_config"]

Augmentation = Literal["hflip", "vflip", "rot90"]


# Settings of version 0.1 that it had no name for.
BEFORE: dict[str, Any] = {"score_kind": "map"}
REGION_SIDE = 256  # pixels of the image on which regions are tried out


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _backbones() -> dict[str, str]:
    return {"auto": "Automatic (best available)"} | backbone_titles()


class TrainingConfig(_Settings):
    """One training, complete: the same data on the same kind of machine give the same model again."""

    data: str = setting(
        "sample",
        "Data",
        "Folder of categories (as MVTec AD, BTAD or VisA have them) or of good images; or 'sample'.",
        group="data",
        basic=True,
    )
    category: str = setting(..., "Category", "Category to train on.", group="data", basic=True)
    augment: tuple[Augmentation, ...] = setting(
        (),
        "Augmentation",
        "Random changes of the good images that can occur in your parts; turns the cache of features off.",
        group="data",
        choices={"hflip": "mirror", "vflip": "upside down", "rot90": "quarter turns"},
    )
    held_out: float = setting(
        0.1,
        "Held-out share",
        "Share of good images kept out of training, for the held-out loss and the threshold; of 60 at least 19.",
        group="data",
        step=0.05,
        gt=0,
        le=0.5,
    )
    cross_folds: int = setting(
        0,
        "Cross-calibration folds",
        "At least 2 where too few images can be held out: as many short trainings more, each fold of the good images "
        "is scored by the one that did not see it. 0 is off.",
        group="data",
        ge=0,
        le=20,
    )
    backbone: str = setting(
        "auto",
        "Backbone",
        "Frozen network that gives the features: a timm name, filter-bank (no weights needed), or auto.",
        group="backbone",
        basic=True,
        choices=_backbones,
        is_open=True,
    )
    stages: Annotated[tuple[int, ...] | None, AUTOMATIC] = setting(
        None,
        "Backbone stages",
        "Stages whose features are used, such as 1,2,3.",
        group="backbone",
        automatic="the backbone's usual stages",
    )
    image_size: int = setting(
        256, "Image size", "Side that images are resized to.", group="backbone", unit="px", basic=True, ge=32, le=16_384
    )
    tile: int = setting(
        0,
        "Tile size",
        "Large images are cut into tiles of this side, for small defects; 0 is off.",
        group="backbone",
        unit="px",
        step=32,
        ge=0,
        le=4096,
        multiple_of=16,
    )
    overlap: int = setting(
        64,
        "Tile overlap",
        "What neighbouring tiles share; at most half a tile.",
        group="backbone",
        unit="px",
        ge=0,
        le=2048,
    )
    aspect: Aspect = setting(
        "squash",
        "Aspect ratio",
        "Squash images to a square, or keep their aspect ratio; image size is then the longer side.",
        group="backbone",
        choices={"squash": "squash to a square", "keep": "keep"},
    )
    flow: FlowConfig = FlowConfig()
    epochs: int = setting(6, "Epochs", "Epochs in all.", group="optimizer", basic=True, ge=1, le=100_000)
    batch_size: int = setting(
        32, "Batch size", "Images in one optimizer step.", group="optimizer", basic=True, ge=1, le=4096
    )
    lr: Annotated[float | None, AUTOMATIC] = setting(
        None,
        "Learning rate",
        "Adam's learning rate for the flow.",
        group="optimizer",
        step=0.0001,
        automatic="the flow's usual rate, 0.01 on the filter bank",
        gt=0,
        le=1,
    )
    lr_schedule: Literal["constant", "cosine"] = setting(
        "cosine", "Learning-rate schedule", "Learning rate over the epochs.", group="optimizer"
    )
    lr_warmup: int = setting(
        0,
        "Learning-rate warm-up",
        "The rate rises linearly from a tenth.",
        group="optimizer",
        unit="epochs",
        ge=0,
    )
    lr_final: float = setting(
        0.0,
        "Final learning rate",
        "End of the cosine, as a fraction of the rate.",
        group="optimizer",
        step=0.001,
        ge=0,
        le=1,
    )
    weight_decay: float = setting(
        1e-5, "Weight decay", "Adam's weight decay for the flow.", group="optimizer", step=1e-5, ge=0, le=1
    )
    base: BaseSchedule = BaseSchedule()
    map_kind: MapKind = setting(
        "mixture",
        "Anomaly map",
        "How the scales become one map: negative log of their mean likelihood, mean likelihood, or mean energy.",
        group="score",
        choices={
            "mixture": "negative log-likelihood of their mixture",
            "likelihood": "mean likelihood, as published",
            "nll": "mean negative log-likelihood",
        },
    )
    score_kind: ScoreKind = setting(
        "range",
        "Image score",
        "What the score is taken from: the scales in units of their range on held-out good images, or the map.",
        group="score",
        choices={"range": "scales, by their range on good images", "map": "the map, as published"},
    )
    log_det_weight: float = setting(
        0.0,
        "Log-det weight",
        "Share of the flow's log-determinant that counts in a position's energy; 0 as published.",
        group="score",
        step=0.25,
        ge=0,
        le=1,
    )
    smoothing: float = setting(
        4.0,
        "Map smoothing",
        "Gaussian sigma of the map; 0 is off.",
        group="score",
        unit="px",
        step=0.5,
        ge=0,
        le=32,
    )
    score_share: float = setting(
        0.01,
        "Top-pixel fraction",
        "The score is the mean of the highest pixels; 0 is the maximum.",
        group="score",
        step=0.01,
        ge=0,
        le=1,
    )
    regions: Regions = setting(
        (),
        "Regions",
        "Polygons in fractions of the image to inspect or to ignore; `train --region FILE.json` reads them.",
        group="score",
    )
    push_epochs: int = setting(
        0,
        "Defect epochs",
        "The last epochs, in which known defects of the data (train/<defect> with masks) are pushed away from good "
        "parts; 0 is off.",
        group="optimizer",
        unit="epochs",
        ge=0,
    )
    push_weight: float = setting(
        0.1,
        "Defect weight",
        "Of pushing known defects, against the likelihood of good parts.",
        group="optimizer",
        step=0.05,
        gt=0,
        le=100,
    )
    seed: int = setting(0, "Random seed", "Seed of all random numbers.", group="run", ge=0, lt=2**63)
    device: str = setting(
        "auto",
        "Device",
        "auto, cpu, cuda, cuda:1 or mps.",
        group="run",
        choices={"auto": "auto", "cpu": "cpu", "cuda": "cuda", "mps": "mps"},
        is_open=True,
    )
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto",
        "Precision",
        "Number format of the subnets in training; auto is bf16 where the device is clearly faster in it.",
        group="run",
    )
    feature_format: Literal["auto", "fp32", "fp16"] = setting(
        "auto",
        "Feature format",
        "Number format of the kept features; auto is fp16, half the memory, where fp32 does not fit into it.",
        group="run",
    )
    compile: bool = setting(
        False,
        "Compilation",
        "Compile the flow's likelihood by torch.compile, for long trainings on a GPU; costs a minute or more at the "
        "start.",
        group="run",
    )
    recompute: bool = setting(
        False,
        "Recompute activations",
        "Training computes activations again instead of storing them: less memory for large images, a third more time.",
        group="run",
    )
    evaluate_every: int = setting(
        1,
        "Evaluation interval",
        "Epochs between evaluations on the test set; the last one is always evaluated.",
        group="run",
        unit="epochs",
        ge=1,
    )

    @field_validator("stages")
    @classmethod
    def _stages_ascend(cls, stages: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if stages is not None and (
            not stages or list(stages) != sorted(set(stages)) or min(stages) < 0 or max(stages) > 99
        ):
            raise ValueError("stages are different whole numbers in ascending order, such as 1,2,3")
        return stages

    @field_validator("regions")
    @classmethod
    def _regions_leave_something(cls, regions: tuple[Region, ...]) -> tuple[Region, ...]:
        try:
            inspected_pixels(regions, REGION_SIDE, REGION_SIDE)
        except ConfigError as error:
            raise ValueError(str(error).rstrip(".")) from None
        return regions

    @field_validator("cross_folds")
    @classmethod
    def _one_fold_is_none(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("a model of no images cannot score the only fold: give 2 folds at least, or 0 for none")
        return folds

    @model_validator(mode="after")
    def _framing_is_possible(self) -> TrainingConfig:
        if problem := framing_problem(self):
            raise ValueError(problem)
        if (self.push_epochs or self.cross_folds) and (self.tile or self.aspect != "squash"):
            raise ValueError("with tile, or aspect=keep, push_epochs and cross_folds are not possible: set them to 0")
        return self

    @model_validator(mode="after")
    def _compiled_flows_store_activations(self) -> TrainingConfig:
        if self.compile and self.recompute:
            raise ValueError("a compiled flow stores activations: set compile or recompute to false")
        return self

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
        if info.training is None:
            return None
        return cls.stored({"category": info.category, **info.training, "data": data})

    @classmethod
    def stored(cls, values: Any) -> TrainingConfig:
        """From what some version of this library wrote; what it did not know yet is as it was then.

        Raises:
            pydantic.ValidationError: they are no settings of this version.
        """
        return cls.model_validate({**BEFORE, **values} if isinstance(values, dict) else values)

    @property
    def notes(self) -> list[str]:
        """What a user should know about these settings before they wait for the result."""
        base = self.base
        if base.base_update == "off" or base.interval_unit == "step" or base.first_base_epoch <= self.epochs:
            return []
        return [
            f"There is no base epoch: the first would be epoch {base.first_base_epoch}, but training ends after epoch "
            f"{self.epochs}. Lower the interval or the warm-up, or train longer."
        ]


def make_config(preset: str | None = None, **settings: Any) -> TrainingConfig:
    """A validated configuration from a preset and settings that override it; nested ones may be partial.

    `flow` and `base` are merged key by key, but what a preset says about another kind of flow is dropped. None means
    "not given", except for `base["lr"]`, where it is a value; "auto" sets any of `lr`, `stages` and `base["lr"]` to
    None.

    Raises:
        ConfigError: unknown preset, unknown setting or a value out of range, in one sentence.
    """
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"There is no preset {preset!r}; choose one of {', '.join(PRESETS)}.")
    merged: dict[str, Any] = {} if preset is None else dict(PRESETS[preset].settings)
    given_flow = settings.get("flow")
    kind = given_flow.get("kind") if isinstance(given_flow, dict) else None
    if kind is not None and kind != merged.get("flow", {}).get("kind", DEFAULT_FLOW):
        merged = {**get_flow(kind).training, **{key: value for key, value in merged.items() if key != "flow"}}
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
        raise ConfigError(f"{validation_problem(error, show_input=True)}.") from error
