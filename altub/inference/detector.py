"""AnomalyDetector: a frozen backbone, flows on learnable bases, and a calibration from held-out good images.

Maps are computed here, unless the detector is given a `MapSource`: an object that computes them elsewhere, such as on a
GPU that is lent for the length of a call. Everything else (scores, p-values, full-size maps) follows from the maps and
is the same for both.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from altub.backbones import Backbone
from altub.backbones.folding import speed_up
from altub.data import ImageSource, opened_in_chunks, to_tensor
from altub.data.images.tensors import squashed
from altub.device import choose_device
from altub.errors import ConfigError, ImageError, ModelError
from altub.flows import FlowPyramid
from altub.flows.quick_flow import QuickEnergies
from altub.inference.calibration import NOT_CALIBRATED, Calibration
from altub.inference.comparability import Comparability
from altub.inference.config import DetectorConfig
from altub.inference.framing import Frame, Framing
from altub.inference.info import ModelInfo
from altub.inference.map_reader import MapReader
from altub.inference.prediction import Prediction
from altub.inference.storage import DetectorParts, read_parts, write_parts
from altub.inference.threshold import Threshold

__all__ = ["AnomalyDetector", "ImageSource", "MapSource"]

# Passes through a model take all cores and some hundred MB: a page with many visitors has only two at a time.
_AT_WORK = threading.BoundedSemaphore(2)


Maps = Tensor | list[Tensor]  # of several images: in one tensor where all have the same size


class MapSource(Protocol):
    """Computes a detector's maps in its place; a function with this signature is one.

    Args:
        images: RGB, of any sizes.
        image_size: side in pixels that the images are resized to; None: the one of training.

    Returns:
        Maps (N, h, w) after smoothing and scales (N, scales, h, w), or lists of them, float32 on the CPU, as from
        `AnomalyDetector.compute_maps`.
    """

    def __call__(self, images: Sequence[Image.Image], image_size: int | None) -> tuple[Maps, Maps]: ...


class AnomalyDetector(MapReader):
    """Finds defects in images; made by training, by `load`, or from its parts.

    Args:
        config: what the parts below were built from.
        backbone: frozen feature pyramid.
        pyramid: flows and bases.
        calibration: from held-out good images; None only while it is being computed.
        info: what travels with the model: metrics, training settings, and entries of your own.
        map_source: computes the maps of images elsewhere; None: this detector does.
        own_threshold: of the model, such as one from labels; None: the calibration's.
        comparability: what the training images look like as a whole; None: no image is refused.
    """

    def __init__(
        self,
        config: DetectorConfig,
        backbone: Backbone,
        pyramid: FlowPyramid,
        calibration: Calibration | None = None,
        info: ModelInfo | None = None,
        map_source: MapSource | None = None,
        own_threshold: Threshold | None = None,
        comparability: Comparability | None = None,
    ) -> None:
        super().__init__(config, pyramid)
        self.backbone = backbone.looking_at(config.sees) if config.hides_outside else backbone
        self.calibration, self.info, self.map_source = calibration, info or ModelInfo(), map_source
        self.own_threshold = own_threshold
        self.comparability = comparability
        self._quick: QuickEnergies | None = None

    @property
    def device(self) -> torch.device:
        return next(self.pyramid.parameters()).device

    @property
    def threshold(self) -> Threshold:
        """The model's own threshold; where none was set, its calibration's at the default false-alarm rate.

        `altub.inference.versions.save_threshold` sets one in a saved model.

        Raises:
            ModelError: the model was never calibrated.
        """
        if self.own_threshold is not None:
            return self.own_threshold
        return self.require_calibration().threshold()

    def require_calibration(self) -> Calibration:
        """The calibration.

        Raises:
            ModelError: the model was never calibrated.
        """
        if self.calibration is None:
            raise ModelError(NOT_CALIBRATED)
        return self.calibration

    def optimise(self) -> AnomalyDetector:
        """Brings backbone and flows into the form that scores fastest on their device; maps stay the same to rounding.
        For a detector that shares its backbone with no other. Returns itself."""
        speed_up(self.backbone, Framing.of(self.config).side)
        if self.device.type == "cpu" and not self.config.log_det_weight:
            self._quick = QuickEnergies(self.pyramid)
        return self

    def fingerprint(self) -> str:
        """SHA-256 of everything that a prediction follows from: settings, weights, calibration, comparability."""
        about = {
            "config": self.config.model_dump(mode="json"),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "comparability": None if self.comparability is None else self.comparability.model_dump(mode="json"),
        }
        digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=list).encode())
        for name, values in self.pyramid.state_dict().items():
            digest.update(name.encode() + values.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    # From features to maps. Training uses this with cached features.

    @torch.no_grad()
    def maps_from_features(self, features: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Feature pyramid to the anomaly map (N, H, W) at `size` and its scales (N, scales, H, W)."""
        return self.maps_from_energies(self._energies(features), size)

    def _energies(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Per scale (N, h, w)."""
        normalised = self.pyramid.normalise(features)
        quick = None if self._quick is None else self._quick(self.pyramid, normalised)
        return self.pyramid.energy_maps(normalised, self.config.log_det_weight) if quick is None else quick

    # From images to predictions.

    def predict(self, image: ImageSource, *, image_size: int | None = None) -> Prediction:
        """The prediction for one image: a path, encoded bytes, a Pillow image or an array (H, W[, C]).

        `detector.predict(image).at(detector.threshold)` is the verdict at the model's own threshold.

        Args:
            image_size: side the image is resized to; default the one of training.

        Raises:
            ImageError: it is no image, or too large.
            ConfigError: the backbone does not take this size.
            ModelError: the model was never calibrated.
        """
        with closing(self.predict_many([image], image_size=image_size)) as predictions:
            return next(predictions)

    def predict_many(
        self,
        images: Sequence[ImageSource],
        *,
        image_size: int | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Iterator[Prediction]:
        """`predict` for each image in order, some at a time. A score does not depend on its neighbours.

        Args:
            sizes: (width, height) of the images' own, where they were read reduced (`read_enough`).
        """
        calibration, own_sizes = self.require_calibration(), iter(sizes or ())
        for opened in self.open_images(images):
            own = [next(own_sizes, image.size) for image in opened]
            for size, (anomaly_map, scale_maps, why) in zip(own, self.look_at(opened, image_size, own), strict=True):
                score = self.score(scale_maps)
                yield Prediction.from_maps(
                    anomaly_map,
                    scale_maps,
                    size,
                    score,
                    calibration.p_value(score),
                    why,
                    anomaly_score=calibration.anomaly_score(score),
                    regions=self.config.regions,
                )

    def look_at(
        self,
        images: Sequence[Image.Image],
        image_size: int | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Iterator[tuple[Tensor, Tensor, tuple[str, ...]]]:
        """Of RGB images the map (h, w) and the scales (scales, h, w), as from `raw_maps`, and why the image cannot be
        compared with the training images (empty where it can).

        Args:
            image_size, sizes: as of `predict_many`.
        """
        framing = Framing.of(self.config, image_size)
        self.backbone.check_image_size(framing.side, framing.side)
        # Scaled once for both: of a photo of 9 million pixels it takes as long as decoding.
        shown = [squashed(image, framing.side) for image in images] if framing.is_plain else None
        maps, scales = self.raw_maps(shown or images, image_size)
        for place, (image, anomaly_map, scale_maps) in enumerate(zip(images, maps, scales, strict=True)):
            why: tuple[str, ...] = ()
            if self.comparability is not None:
                small, size = shown and shown[place], sizes and sizes[place]
                why = self.comparability.reasons(image, small=small, size=size)
            yield anomaly_map, scale_maps, why

    def reasons(self, image: Image.Image) -> tuple[str, ...]:
        """Why an image (RGB) cannot be compared with the training images; empty where it can."""
        return () if self.comparability is None else self.comparability.reasons(image)

    def read_enough(self, image_size: int | None = None) -> int | None:
        """Side in pixels of what the model sees of a photo, which may be read reduced (`altub.data.images.pending`);
        None: photos are wanted at their own size, for tiles or an aspect ratio that is kept."""
        framing = Framing.of(self.config, image_size)
        return framing.side if framing.is_plain else None

    def open_images(self, images: Iterable[ImageSource]) -> Iterator[list[Image.Image]]:
        """The images in RGB as the model reads them, some at a time; they are closed when the next ones are asked for.

        Raises:
            ImageError: one of them is no image, or too large.
        """
        for chunk in opened_in_chunks(images, lambda image: image, pixel_range=self.config.pixel_range):
            for _, image in chunk:
                if isinstance(image, ImageError):
                    raise image
            yield [image for _, image in chunk]

    def raw_maps(self, images: Sequence[Image.Image], image_size: int | None = None) -> tuple[Maps, Maps]:
        """RGB images to maps (N, h, w) and scales (N, scales, h, w) at the model's input size, on the CPU; or to lists
        of maps (h, w) and scales (scales, h, w) where images are cut into tiles or keep their aspect ratio.

        From the map source where the detector has one, else from `compute_maps`. At most two calls of a process are at
        work at any time, whichever models they ask; others wait.
        """
        with _AT_WORK:
            return (self.map_source or self.compute_maps)(images, image_size)

    @torch.inference_mode()
    def compute_maps(self, images: Sequence[Image.Image], image_size: int | None = None) -> tuple[Maps, Maps]:
        """`raw_maps` by this detector's own backbone and flows, on its device."""
        framing = Framing.of(self.config, image_size)
        side = framing.side
        self.backbone.check_image_size(side, side)
        if not framing.is_plain:
            found = [self._framed_maps(image, framing.frame(image.size)) for image in images]
            return [values for values, _ in found], [scales for _, scales in found]
        batch = torch.stack([to_tensor(image, side) for image in images]).to(self.device)
        maps, scales = self.maps_from_features(self.backbone(batch), (side, side))
        return maps.float().cpu(), scales.float().cpu()

    def _framed_maps(self, image: Image.Image, frame: Frame) -> tuple[Tensor, Tensor]:
        energies = (self._energies(self.backbone(tiles.to(self.device))) for tiles in frame.tiles(image))
        values, scales = self.maps_of_tiles(energies, frame)
        return values.float().cpu(), scales.float().cpu()

    @classmethod
    def fit(cls, good_images: Any, **settings: Any) -> AnomalyDetector:
        """A detector trained on good images (a folder, paths, arrays, Pillow images): `altub.runs.fit.fit_detector`.

        Example: `AnomalyDetector.fit(images, backbone=my_module, flow="fastflow", epochs=10)`.
        """
        from altub.runs.fit import fit_detector  # deferred: a room above, see tests/test_architecture.py

        return fit_detector(good_images, **settings)

    # To and from a folder.

    def save(self, folder: str | Path) -> Path:
        """Writes config.json, model.safetensors and a model card; the backbone's weights are named, not copied.

        A model that is there already is replaced such that the folder can be loaded at every moment, also after this
        process was killed.

        Raises:
            DiskFullError: no room; the model that was there still is.
        """
        folder = Path(folder)
        write_parts(folder, self._parts())
        return folder

    def _parts(self) -> DetectorParts:
        return DetectorParts(
            self.config,
            self.backbone,
            self.pyramid,
            self.calibration,
            self.info,
            threshold=self.own_threshold,
            comparability=self.comparability,
        )

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "auto",
        *,
        backbone: nn.Module | None = None,
        map_source: MapSource | None = None,
        download: bool = True,
        for_scoring: bool = False,
    ) -> AnomalyDetector:
        """The detector that `save` wrote, predicting bit for bit the same on the same kind of machine, or to rounding
        `for_scoring`.

        Args:
            backbone: in place of the one that the model names, with the very same weights: a module of your own, or
                what `Backbone.from_module` made of it.
            map_source: see the class.
            download: the backbone's weights may be fetched from the Hub where they are not on this machine.
            for_scoring: in the form that scores fastest (`optimise`), where that was measured to pay: on a CPU.

        Raises:
            ModelError: files are missing, damaged, or of a newer format.
            WeightsError: the backbone's weights are not available, or are not the ones it was trained on.
            ConfigError: there is no such device here.
        """
        target = _device(device)
        parts = read_parts(Path(folder), backbone, download=download)
        detector = cls(
            parts.config,
            parts.backbone,
            parts.pyramid,
            parts.calibration,
            parts.info,
            map_source=map_source,
            own_threshold=parts.threshold,
            comparability=parts.comparability,
        )
        detector = detector.to(target).eval().requires_grad_(False)
        return detector.optimise() if for_scoring and map_source is None and target.type == "cpu" else detector

    @classmethod
    def from_pretrained(
        cls, model: str | Path, revision: str | None = None, *, device: str = "auto", token: str | bool | None = None
    ) -> AnomalyDetector:
        """The detector that was pushed to the Hugging Face Hub as "user/name"; a folder is loaded as by `load`.

        Args:
            revision: branch, tag or commit; also "user/name@revision".
            token: default the one of `hf auth login` or HF_TOKEN; False sends none.

        Raises:
            HubError: it is not there, cannot be reached and is not in the cache, or no AltUB model.
            Others as from `load`.
        """
        if Path(model).is_dir():
            return cls.load(model, device)
        from altub.hub import fetch_model  # deferred: a room above, see tests/test_architecture.py

        return cls.load(fetch_model(str(model), revision, token=None if token is True else token).folder, device)


def _device(wish: str) -> torch.device:
    try:
        return choose_device(wish)
    except RuntimeError as error:  # PyTorch does not know the word
        raise ConfigError(f"There is no device {wish!r}: use auto, cpu, cuda, cuda:<number> or mps.") from error
