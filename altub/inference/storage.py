"""A detector's parts to and from the folder of a saved model.

`altub.inference.model_files` replaces the files; this module says what is in them. The backbone's weights are named by
their hash, not copied. No pickle is written or read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from altub.backbones import Backbone, create_backbone
from altub.device import shapes_alone
from altub.errors import ConfigError, ModelError
from altub.files import write_atomically
from altub.flows import FlowPyramid
from altub.flows.pyramid import LATER_BUFFERS
from altub.flows.registry import get_flow
from altub.inference.calibration import NOT_CALIBRATED, Calibration
from altub.inference.comparability import Comparability
from altub.inference.config import DetectorConfig, ModelConfig
from altub.inference.info import ModelInfo
from altub.inference.model_files import parse_config, read_header, read_model, write_model
from altub.inference.threshold import Threshold
from altub.metrics import METRICS
from altub.version import __version__

__all__ = ["CARD_FILE", "DetectorParts", "read_calibration", "read_parts", "write_parts"]

CARD_FILE = "README.md"
CALIBRATION_TENSORS = ("scores", "peaks")  # of the calibration, kept as float64 beside the weights
MOST_HELD_OUT = 1_000_000  # images


@dataclass(frozen=True)
class DetectorParts:
    """What a detector is made of; see `AnomalyDetector`."""

    config: DetectorConfig
    backbone: Backbone
    pyramid: FlowPyramid
    calibration: Calibration | None
    info: ModelInfo
    threshold: Threshold | None = None
    comparability: Comparability | None = None


def write_parts(folder: Path, parts: DetectorParts) -> None:
    """Writes config.json, model.safetensors and a model card, replacing a model that is there already.

    Raises:
        DiskFullError: no room; the model that was there still is.
    """
    tensors = {f"pyramid.{name}": value.contiguous().cpu() for name, value in parts.pyramid.state_dict().items()}
    calibration = None
    if parts.calibration is not None:
        calibration = parts.calibration.to_dict()
        for name in CALIBRATION_TENSORS:
            tensors[f"calibration.{name}"] = torch.tensor(calibration.pop(name), dtype=torch.float64)
    weights = safetensors.torch.save(tensors, metadata={"format": "altub"})
    config = {
        "detector": parts.config.model_dump(mode="json"),
        "backbone": parts.backbone.describe(),
        "calibration": calibration,
        "comparability": None if parts.comparability is None else parts.comparability.model_dump(mode="json"),
        "info": parts.info.to_json(),
        **({} if parts.threshold is None else {"threshold": parts.threshold.to_dict()}),
        "packages": _package_versions(),
    }
    write_model(folder, config, weights)
    write_atomically(folder / CARD_FILE, _card(parts.config, parts.info).encode())


def read_parts(folder: Path, backbone: nn.Module | None = None, *, download: bool = True) -> DetectorParts:
    """The parts that `write_parts` wrote, on the CPU.

    Args:
        backbone: in place of the one that the model names; a `Backbone`, or the module that one was made from.
        download: the backbone's weights may be fetched from the Hub.

    Raises:
        ModelError: files are missing, damaged, or of a newer format.
        WeightsError: the backbone's weights are not available, or are not the ones it was trained on.
    """
    content, weights = read_model(folder)
    config = parse_config(content, folder)
    settings = config.detector
    shapes, tensors, calibration = _unpacked(config, weights, folder)
    try:
        if backbone is None:
            backbone = create_backbone(
                settings.backbone,
                settings.stages,
                image_size=settings.tile or settings.image_size,
                expected_sha256=settings.backbone_sha256,
                download=download,
            )
        else:
            name, stages, size = settings.backbone, settings.stages, settings.tile or settings.image_size
            backbone = Backbone.from_module(backbone, name, stages=stages, image_size=size)
            backbone.check_weights(settings.backbone_sha256)
    except ConfigError as error:
        raise ModelError(f"The model in {folder} needs a backbone that is not available: {error}") from error
    # Before the flow is built: its size would be whatever the file says.
    if tuple(channels for channels, _, _ in settings.shapes) != backbone.channels or any(
        not 1 <= side <= settings.image_size for _, *sides in settings.shapes for side in sides
    ):
        raise ModelError(f"The model in {folder} is damaged: its features are not those of {settings.backbone}.")
    try:
        _check_shapes(settings, shapes)
        pyramid = FlowPyramid(settings.flow, settings.shapes)
        pyramid.load_state_dict({name.removeprefix("pyramid."): value for name, value in tensors.items()})
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"The weights in {folder} do not fit their config.json ({_first_line(error)}). Fetch or train it again."
        ) from error
    threshold = None if config.threshold is None else Threshold.from_dict(config.threshold)
    return DetectorParts(settings, backbone, pyramid, calibration, config.info, threshold, config.comparability)


def read_calibration(folder: Path) -> tuple[Calibration, Threshold | None, str]:
    """The calibration of a saved model, its own threshold if it has one, and the SHA-256 of its weights.

    Raises:
        ModelError: files are missing or damaged, or the model was never calibrated.
    """
    content, weights = read_model(folder)
    config = parse_config(content, folder)
    _, _, calibration = _unpacked(config, weights, folder)
    if calibration is None:
        raise ModelError(NOT_CALIBRATED)
    threshold = None if config.threshold is None else Threshold.from_dict(config.threshold)
    return calibration, threshold, config.weights_sha256


def _unpacked(
    config: ModelConfig, weights: bytes, folder: Path
) -> tuple[dict[str, tuple[int, ...]], dict[str, Tensor], Calibration | None]:
    """Of the file of weights the shapes, the tensors of the flow, and the calibration.

    Raises:
        ModelError: it is damaged, or not what config.json wants.
    """
    try:
        shapes = _pyramid_shapes(weights)
        tensors = safetensors.torch.load(weights)
        return shapes, tensors, _calibration(config, tensors)
    except (TypeError, ValueError, AttributeError, KeyError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"The model in {folder} is damaged ({_first_line(error)}). Fetch or train it again."
        ) from error


def _calibration(config: ModelConfig, tensors: dict[str, Tensor]) -> Calibration | None:
    """The calibration of a config.json with the scores and peaks beside the weights, which are taken out of those."""
    scores, peaks = (tensors.pop(f"calibration.{name}", None) for name in CALIBRATION_TENSORS)
    if config.calibration is None:
        return None
    # Models without peaks are older: their score is the map's maximum.
    peaks = None if peaks is None else peaks.numpy()
    return Calibration.from_dict({**config.calibration, "scores": scores.numpy(), "peaks": peaks})


def _pyramid_shapes(weights: bytes) -> dict[str, tuple[int, ...]]:
    """Shapes of the flow's tensors by the file's header, before any of them takes memory.

    Raises:
        ValueError: the calibration beside them is not one.
    """
    shapes = {name: tuple(entry["shape"]) for name, entry in read_header(weights).items() if name != "__metadata__"}
    counts = [shape for name, shape in shapes.items() if name.startswith("calibration.")]
    if any(len(shape) != 1 or shape[0] > MOST_HELD_OUT for shape in counts):
        raise ValueError(f"its calibration is not a list of at most {MOST_HELD_OUT:,} scores")
    return {name.removeprefix("pyramid."): shape for name, shape in shapes.items() if name.startswith("pyramid.")}


def _check_shapes(settings: DetectorConfig, found: dict[str, tuple[int, ...]]) -> None:
    """Are the tensors in the file those of a flow of these settings? Asked before one is built, however large.

    Raises:
        ValueError: one is missing, of another shape, or too many.
    """
    get_flow(settings.flow.kind).head_class()  # its module is imported outside of the meta device
    with shapes_alone():
        wanted = {name: tuple(t.shape) for name, t in FlowPyramid(settings.flow, settings.shapes).state_dict().items()}
    for name in LATER_BUFFERS:
        found = {name: wanted[name], **found}
    if found != wanted:
        name = min(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        raise ValueError(f"{name} has shape {found.get(name)}, its settings ask for {wanted.get(name)}")


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    if len(lines) > 1 and lines[0].startswith("Error(s) in loading state_dict"):  # torch's heading
        lines = lines[1:]
    line = next(iter(lines), type(error).__name__).strip().rstrip(".: ")
    return line if len(line) <= 200 else f"{line[:200]}..."  # it may quote what the file says, however long


def _package_versions() -> dict[str, str]:
    return {"altub": __version__, **{name: _installed(name) for name in ("torch", "timm", "FrEIA", "numpy")}}


@cache
def _installed(package: str) -> str:
    """Its version; found by reading a file, which a training would do after every epoch."""
    return metadata.version(package)


def _card(config: DetectorConfig, info: ModelInfo) -> str:
    rows = "\n".join(f"| {METRICS[name].label} | {value:.4f} |" for name, value in info.measured.items())
    table = (
        f"\nOn the category's test set, at the last epoch:\n\n| metric | value |\n|---|---|\n{rows}\n" if rows else ""
    )
    return f"""---
library_name: altub
pipeline_tag: image-segmentation
tags:
- anomaly-detection
- altub
---
# AltUB detector for {info.category}

{get_flow(config.flow.kind).title} with a learnable base (AltUB, arXiv:2210.14913) on features of `{config.backbone}` at
stages {", ".join(map(str, config.stages))}, {config.image_size} px.
{table}
```python
from altub import AnomalyDetector

detector = AnomalyDetector.load("path/to/this/folder")
prediction = detector.predict("part.png")
print(prediction.score, prediction.p_value, prediction.at(detector.threshold).is_anomalous)
```
"""
