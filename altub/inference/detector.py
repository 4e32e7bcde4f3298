"""AnomalyDetector: a frozen backbone, flows on learnable bases, and what held-out good images say about its scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from altub.backbones.backbone import Backbone, create_backbone
from altub.data import read_image, to_tensor
from altub.device import choose_device
from altub.errors import ConfigError, ModelError
from altub.files import write_atomically
from altub.flows import FlowPyramid
from altub.flows.config import PAPERS
from altub.inference.calibration import Calibration, Threshold
from altub.inference.config import DetectorConfig
from altub.inference.model_files import CONFIG_FILE, FORMAT_VERSION, WEIGHTS_FILE, read_model, write_model
from altub.version import __version__

__all__ = ["CONFIG_FILE", "FORMAT_VERSION", "WEIGHTS_FILE", "AnomalyDetector", "Prediction"]

CARD_FILE = "README.md"
PREDICTION_BATCH = 8  # images per pass; only speed depends on it

ImageSource = str | Path | bytes | Image.Image | np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What the detector says about one image.

    Attributes:
        anomaly_map: float32 (H, W) at the image's own size, higher is more anomalous.
        scale_maps: float32 (scales, h, w) at the model's input size; their mean is the map before smoothing.
        score: mean of the highest share of that mean map (`DetectorConfig.score_share`), or its maximum.
        p_value: share of good images at least this anomalous, estimated from the held-out ones (conformal).
        threshold: score above which an image is called anomalous.
        pixel_threshold: map value above which a pixel is.
        is_anomalous: score > threshold.
    """

    anomaly_map: np.ndarray
    scale_maps: np.ndarray
    score: float
    p_value: float
    threshold: float
    pixel_threshold: float
    is_anomalous: bool

    @property
    def mask(self) -> np.ndarray:
        """bool (H, W): pixels above the threshold."""
        return self.anomaly_map > self.pixel_threshold


class AnomalyDetector(nn.Module):
    """Finds defects in images; made by training, by `load`, or from its parts.

    Args:
        config: what the parts below were built from.
        backbone: frozen feature pyramid.
        pyramid: flows and bases.
        calibration: from held-out good images; None only while it is being computed.
        info: anything JSON-able that travels with the model: metrics, training settings, data set.
    """

    def __init__(
        self,
        config: DetectorConfig,
        backbone: Backbone,
        pyramid: FlowPyramid,
        calibration: Calibration | None = None,
        info: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.backbone, self.pyramid = config, backbone, pyramid
        self.calibration, self.info = calibration, info or {}

    @property
    def device(self) -> torch.device:
        return next(self.pyramid.parameters()).device

    # From features to maps. Training uses this with cached features.

    @torch.no_grad()
    def maps_from_features(self, features: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Feature pyramid to the anomaly map (N, H, W) at `size` and its scales (N, scales, H, W)."""
        scales = self.pyramid.scale_maps(self.pyramid.normalise(features), size, self.config.map_kind)
        anomaly_map = scales.mean(dim=1, keepdim=True)
        if self.config.smoothing > 0:
            reach = min(math.ceil(3 * self.config.smoothing), min(size) - 1)
            anomaly_map = gaussian_blur(anomaly_map, [2 * reach + 1] * 2, [self.config.smoothing] * 2)
        return anomaly_map[:, 0], scales

    def image_scores(self, scales: Tensor) -> Tensor:
        """Scores (N,) of scale maps (N, scales, H, W): the mean of the highest share of pixels, before smoothing.

        A share keeps apart what a maximum does not: likelihood maps end at 0, and strong defects all reach it.
        """
        flat = scales.mean(dim=1).flatten(1)
        highest = max(round(self.config.score_share * flat.shape[1]), 1)
        return flat.topk(highest, dim=1).values.mean(dim=1)

    # From images to predictions.

    def predict(
        self, image: ImageSource, *, false_alarm_rate: float = 0.05, image_size: int | None = None
    ) -> Prediction:
        """The verdict on one image: a path, encoded bytes, a Pillow image or an array (H, W[, C]).

        Args:
            false_alarm_rate: share of good images that may be called anomalous; gives the threshold.
            image_size: side the image is resized to; default the one of training.

        Raises:
            ImageError: it is no image, or too large.
            ConfigError: the rate is not between 0 and 1, or the backbone does not take this size.
            ModelError: the model was never calibrated.
        """
        return next(self.predict_many([image], false_alarm_rate=false_alarm_rate, image_size=image_size))

    def predict_many(
        self, images: Sequence[ImageSource], *, false_alarm_rate: float = 0.05, image_size: int | None = None
    ) -> Iterator[Prediction]:
        """`predict` for each image in order, some at a time. A score does not depend on its neighbours."""
        if self.calibration is None:
            raise ModelError("This model has no calibration: train it to its first epoch's end.")
        threshold = self.calibration.threshold(false_alarm_rate)
        for start in range(0, len(images), PREDICTION_BATCH):
            opened = [read_image(image) for image in images[start : start + PREDICTION_BATCH]]
            maps, scales = self.raw_maps(opened, image_size)
            for image, anomaly_map, scale_maps in zip(opened, maps, scales, strict=True):
                yield self._verdict(image, anomaly_map, scale_maps, threshold)

    @torch.inference_mode()
    def raw_maps(self, images: Sequence[Image.Image], image_size: int | None = None) -> tuple[Tensor, Tensor]:
        """RGB images to maps (N, h, w) and scales (N, scales, h, w) at the model's input size, on the CPU."""
        side = self.config.image_size if image_size is None else image_size
        self.backbone.check_image_size(side, side)
        batch = torch.stack([to_tensor(image, side) for image in images]).to(self.device)
        maps, scales = self.maps_from_features(self.backbone(batch), (side, side))
        return maps.float().cpu(), scales.float().cpu()

    def score(self, scale_maps: Tensor) -> float:
        """The score of one image's scale maps (scales, H, W).

        Raises:
            ModelError: it is not finite.
        """
        score = float(self.image_scores(scale_maps[None]))
        if not math.isfinite(score):
            raise ModelError("The model gives no finite score for this image: it is damaged; train or fetch it again.")
        return score

    def _verdict(self, image: Image.Image, anomaly_map: Tensor, scale_maps: Tensor, threshold: Threshold) -> Prediction:
        score = self.score(scale_maps)
        full = F.interpolate(anomaly_map[None, None], (image.height, image.width), mode="bilinear", align_corners=False)
        return Prediction(
            anomaly_map=full[0, 0].numpy(),
            scale_maps=scale_maps.numpy(),
            score=score,
            p_value=self.calibration.p_value(score),
            threshold=threshold.value,
            pixel_threshold=threshold.pixel_value,
            is_anomalous=score > threshold.value,
        )

    # To and from a folder.

    def save(self, folder: str | Path) -> Path:
        """Writes config.json, model.safetensors and a model card; the backbone's weights are named, not copied.

        A model that is there already is replaced such that the folder can be loaded at every moment, also after this
        process was killed.

        Raises:
            DiskFullError: no room; the model that was there still is.
        """
        folder = Path(folder)
        tensors = {f"pyramid.{name}": value.contiguous().cpu() for name, value in self.pyramid.state_dict().items()}
        calibration = None
        if self.calibration is not None:
            calibration = self.calibration.to_dict()
            for name in ("scores", "peaks"):
                tensors[f"calibration.{name}"] = torch.tensor(calibration.pop(name), dtype=torch.float64)
        weights = safetensors.torch.save(tensors, metadata={"format": "altub"})
        config = {
            "detector": self.config.model_dump(mode="json"),
            "backbone": self.backbone.describe(),
            "calibration": calibration,
            "info": self.info,
            "packages": _package_versions(),
        }
        write_model(folder, config, weights)
        write_atomically(folder / CARD_FILE, _card(self).encode())
        return folder

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> AnomalyDetector:
        """The detector that `save` wrote, predicting bit for bit the same on the same kind of machine.

        Raises:
            ModelError: files are missing, damaged, or of a newer format.
            WeightsError: the backbone's weights are not to be had, or are not the ones it was trained on.
            ConfigError: there is no such device here.
        """
        folder = Path(folder)
        target = _device(device)
        config, weights = read_model(folder)
        try:
            settings = DetectorConfig.model_validate(config["detector"])
            tensors = safetensors.torch.load(weights)
            scores, peaks = (tensors.pop(f"calibration.{name}", None) for name in ("scores", "peaks"))
            calibration = config["calibration"]
            if calibration is not None:
                # Models without peaks are older: their score is the map's maximum.
                peaks = None if peaks is None else peaks.tolist()
                calibration = Calibration.from_dict({**calibration, "scores": scores.tolist(), "peaks": peaks})
            info = dict(config.get("info") or {})
        except (KeyError, TypeError, ValueError, AttributeError, safetensors.SafetensorError) as error:
            raise ModelError(
                f"The model in {folder} is damaged ({_first_line(error)}). Fetch or train it again."
            ) from error
        try:
            backbone = create_backbone(
                settings.backbone,
                settings.stages,
                image_size=settings.image_size,
                expected_sha256=settings.backbone_sha256,
            )
        except ConfigError as error:
            raise ModelError(f"The model in {folder} needs a backbone that is not to be had: {error}") from error
        # Before the flow is built: its size would be whatever the file says.
        if tuple(channels for channels, _, _ in settings.shapes) != backbone.channels or any(
            not 1 <= side <= settings.image_size for _, *sides in settings.shapes for side in sides
        ):
            raise ModelError(f"The model in {folder} is damaged: its features are not those of {settings.backbone}.")
        pyramid = FlowPyramid(settings.flow, settings.shapes)
        try:
            pyramid.load_state_dict({name.removeprefix("pyramid."): value for name, value in tensors.items()})
        except RuntimeError as error:
            raise ModelError(
                f"The weights in {folder} do not fit their config.json ({_first_line(error)}). Fetch or train it again."
            ) from error
        return cls(settings, backbone, pyramid, calibration, info).to(target).eval().requires_grad_(False)

    @classmethod
    def from_pretrained(
        cls, model: str | Path, revision: str | None = None, *, device: str = "auto", token: str | bool | None = None
    ) -> AnomalyDetector:
        """The detector that was pushed to the Hugging Face Hub as "user/name"; a folder is loaded as by `load`.

        Args:
            revision: branch, tag or commit; also "user/name@revision".
            token: default the one of `hf auth login` or HF_TOKEN; False sends none.

        Raises:
            HubError: it is not there, not to be reached and not in the cache, or no AltUB model.
            Others as from `load`.
        """
        if Path(model).is_dir():
            return cls.load(model, device)
        from altub.hub import fetch_model

        return cls.load(fetch_model(str(model), revision, token=None if token is True else token).folder, device)


def _device(wish: str) -> torch.device:
    try:
        return choose_device(wish)
    except RuntimeError as error:  # PyTorch does not know the word
        raise ConfigError(f"There is no device {wish!r}: use auto, cpu, cuda, cuda:<number> or mps.") from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    text = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
    return next(iter(text.splitlines()), type(error).__name__).rstrip(".: ")


def _package_versions() -> dict[str, str]:
    return {"altub": __version__, **{name: metadata.version(name) for name in ("torch", "timm", "FrEIA", "numpy")}}


def _card(detector: AnomalyDetector) -> str:
    info, config = detector.info, detector.config
    category = info.get("category", "unknown")
    metrics = {name: value for name, value in (info.get("metrics") or {}).items() if value is not None}
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in metrics.items())
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
# AltUB detector for {category}

{PAPERS[config.flow.kind][0]} with a learnable base (AltUB, arXiv:2210.14913) on features of `{config.backbone}` at
stages {", ".join(map(str, config.stages))}, {config.image_size} px.
{table}
```python
from altub import AnomalyDetector

detector = AnomalyDetector.load("path/to/this/folder")
prediction = detector.predict("part.png")
print(prediction.score, prediction.p_value, prediction.is_anomalous)
```
"""
