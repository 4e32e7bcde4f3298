"""A batch of inspected images: the model runs once, everything after that is arithmetic on what it said.

A batch keeps numbers in memory and pictures in a folder of its own: per image the anomaly map and the maps of the
scales at the model's input size (`<number>.npy`) and a copy of the photo for the screen (`<number>.jpg`). The full-size
map is interpolated again when it is exported, bit for bit the one that `AnomalyDetector.predict_many` gives.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from altub.data import read_image
from altub.errors import ImageError, RunError
from altub.files import explain_full_disk
from altub.inference.calibration import Calibration, Threshold
from altub.inference.detector import AnomalyDetector, Prediction
from altub.inference.exports import COLUMNS, PredictionArchive, Row, table_to_csv

__all__ = ["SCREEN_SIDE", "Batch", "Inspected", "Source", "Unreadable", "Verdict", "for_screen", "inspect_images"]

SCREEN_SIDE = 1600  # longest side, in pixels, of what is sent to a browser
CHUNK_IMAGES, CHUNK_PIXELS = 8, 32_000_000  # opened at a time
JPEG = {"quality": 92, "subsampling": 0}

Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """An image to inspect: where it lies, and what the user calls it."""

    path: Path
    name: str


@dataclass(frozen=True)
class Unreadable:
    """An image of the batch without a result, and why.

    Attributes:
        waits: it was not tried, because the batch was stopped before.
    """

    number: int
    source: Source
    error: str
    waits: bool = False


@dataclass(frozen=True)
class Inspected:
    """What the model said about one image of the batch.

    Attributes:
        number: from 1 on, in the order of arrival.
        size: (width, height) of the image.
        areas: float64 (n,), the share of the full-size map's pixels above each of the calibration's n peaks: no other
            threshold can be asked for.
    """

    number: int
    source: Source
    size: tuple[int, int]
    score: float
    p_value: float
    areas: np.ndarray


@dataclass(frozen=True)
class Verdict:
    """An image at one threshold."""

    is_anomalous: bool
    anomalous_area: float


@dataclass(frozen=True)
class Batch:
    """Images inspected by one model.

    Attributes:
        run_id, weights_sha256: the model's.
        title: of the model, for people.
        scale_titles: one for each scale map.
        folder: holds the pictures; goes when the batch is discarded.
    """

    run_id: str
    weights_sha256: str
    title: str
    calibration: Calibration
    scale_titles: tuple[str, ...]
    folder: Path
    items: tuple[Inspected | Unreadable, ...] = field(default=())

    @property
    def sources(self) -> list[Source]:
        return [item.source for item in self.items]

    @property
    def inspected(self) -> list[Inspected]:
        return [item for item in self.items if isinstance(item, Inspected)]

    def item(self, number: int) -> Inspected:
        """The image with this number.

        Raises:
            RunError: there is none, or it could not be read.
        """
        for item in self.items:
            if item.number == number:
                if isinstance(item, Unreadable):
                    raise RunError(item.error)
                return item
        raise RunError(f"There is no image number {number} in this batch: choose a row of the table.")

    def verdict(self, item: Inspected, threshold: Threshold) -> Verdict:
        """What the threshold, one of the calibration's, makes of an image; the model is not asked."""
        place = int(np.searchsorted(self.calibration.peaks, threshold.pixel_value))
        return Verdict(item.score > threshold.value, float(item.areas[place]))

    def maps(self, item: Inspected) -> tuple[np.ndarray, np.ndarray]:
        """The map (h, w) and the scales (scales, h, w), float32, at the model's input size.

        Raises:
            RunError: the files were cleaned away meanwhile.
        """
        arrays = self._read(item, lambda: np.load(self.folder / f"{item.number}.npy", allow_pickle=False))
        return arrays[0], arrays[1:]

    def screen_file(self, item: Inspected) -> Path:
        """The photo as it is sent to the browser."""
        return self.folder / f"{item.number}.jpg"

    def screen_image(self, item: Inspected) -> Image.Image:
        """The same, decoded."""
        return self._read(item, lambda: Image.open(self.screen_file(item)).convert("RGB"))

    def prediction(self, item: Inspected, threshold: Threshold) -> Prediction:
        """All that `AnomalyDetector.predict` returns, with the map at the image's own size."""
        anomaly_map, scales = self.maps(item)
        return Prediction(
            anomaly_map=_full_size(torch.from_numpy(anomaly_map), item.size),
            scale_maps=scales,
            score=item.score,
            p_value=item.p_value,
            threshold=threshold.value,
            pixel_threshold=threshold.pixel_value,
            is_anomalous=item.score > threshold.value,
        )

    # Exports.

    def rows(self, threshold: Threshold) -> list[Row]:
        """The rows of predictions.csv, without the pictures' paths."""
        rows = []
        for item in self.items:
            row = dict.fromkeys(COLUMNS) | {"image": item.source.name}
            if isinstance(item, Unreadable):
                rows.append(row | {"error": item.error})
                continue
            verdict = self.verdict(item, threshold)
            rows.append(
                row
                | {
                    "score": item.score,
                    "p_value": item.p_value,
                    "is_anomalous": verdict.is_anomalous,
                    "threshold": threshold.value,
                    "pixel_threshold": threshold.pixel_value,
                    "anomalous_area": verdict.anomalous_area,
                }
            )
        return rows

    def write_csv(self, threshold: Threshold) -> Path:
        """predictions.csv at this threshold, in a folder that no other one shares."""
        path = self._fresh_folder() / "predictions.csv"
        columns = [column for column in COLUMNS if column not in ("overlay", "map", "mask")]
        with explain_full_disk(path):
            path.write_text(table_to_csv(self.rows(threshold), columns), encoding="utf-8")
        return path

    def write_zip(
        self, threshold: Threshold, *, opacity: float, colour_map: str, contour: bool, progress: Progress | None = None
    ) -> Path:
        """Overlays, maps, masks and predictions.csv of the whole batch, at the images' own sizes.

        Raises:
            ConfigError: the colour map or the opacity is not possible.
            DiskFullError: there is no room.
        """
        path = self._fresh_folder() / "predictions.zip"
        look = {"opacity": opacity, "colour_map": colour_map, "contour": contour}
        with PredictionArchive(path, self.calibration, **look) as archive:
            for done, item in enumerate(self.items, start=1):
                if isinstance(item, Unreadable):
                    archive.add_error(item.source.name, item.error)
                else:
                    try:
                        photo = read_image(item.source.path)
                    except ImageError as error:  # an upload may have been cleaned away
                        archive.add_error(item.source.name, str(error))
                    else:
                        archive.add(item.source.name, photo, self.prediction(item, threshold))
                if progress is not None:
                    progress(done, len(self.items))
        return path

    def _fresh_folder(self) -> Path:
        for earlier in self.folder.glob("export-*/predictions.*"):  # archives are large, and were fetched
            shutil.rmtree(earlier.parent, ignore_errors=True)
        folder = self.folder / f"export-{secrets.token_hex(8)}"
        with explain_full_disk(folder):
            folder.mkdir(parents=True)
        return folder

    def _read(self, item: Inspected, read: Callable[[], T]) -> T:
        try:
            return read()
        except (OSError, ValueError) as error:
            raise RunError(f"The results of {item.source.name} are no longer kept: inspect it again.") from error


def inspect_images(
    detector: AnomalyDetector,
    sources: Sequence[Source],
    folder: Path,
    *,
    first_number: int = 1,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Inspected | Unreadable]:
    """Runs the model on every image, once; one that cannot be read does not stop the others.

    Args:
        folder: gets the pictures; must be there.
        should_stop: asked after every few images; what was inspected until then is returned.

    Raises:
        ModelError: the model gives no finite score.
        DiskFullError: there is no room in `folder`.
    """
    items: list[Inspected | Unreadable] = []
    if progress is not None:
        progress(0, len(sources))
    for chunk in _chunks(sources):
        photos = [photo for _, photo in chunk if isinstance(photo, Image.Image)]
        maps, scales = detector.raw_maps(photos) if photos else ([], [])
        results = iter(zip(maps, scales, strict=True))
        for source, photo in chunk:
            number = first_number + len(items)
            if isinstance(photo, Image.Image):
                items.append(_keep(detector, folder, number, source, photo, *next(results)))
            else:
                items.append(Unreadable(number, source, photo))
        if progress is not None:
            progress(len(items), len(sources))
        if should_stop():
            break
    return items


def for_screen(image: Image.Image) -> Image.Image:
    """The image, scaled down if it has more pixels than a screen shows."""
    if max(image.size) <= SCREEN_SIDE:
        return image
    scale = SCREEN_SIDE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)


def _chunks(sources: Sequence[Source]) -> Iterator[list[tuple[Source, Image.Image | str]]]:
    """Opened images, few enough at a time for the memory; a sentence in place of one that is none."""
    chunk: list[tuple[Source, Image.Image | str]] = []
    pixels = 0
    for source in sources:
        try:
            photo: Image.Image | str = read_image(source.path)
            pixels += photo.width * photo.height
        except ImageError as error:
            photo = str(error)
        chunk.append((source, photo))
        if len(chunk) == CHUNK_IMAGES or pixels > CHUNK_PIXELS:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk


def _keep(
    detector: AnomalyDetector,
    folder: Path,
    number: int,
    source: Source,
    photo: Image.Image,
    anomaly_map: torch.Tensor,
    scales: torch.Tensor,
) -> Inspected:
    score = detector.score(scales)
    with explain_full_disk(folder / f"{number}.npy"):
        np.save(folder / f"{number}.npy", torch.cat([anomaly_map[None], scales]).numpy())
        for_screen(photo).save(folder / f"{number}.jpg", **JPEG)
    return Inspected(
        number=number,
        source=source,
        size=photo.size,
        score=score,
        p_value=detector.calibration.p_value(score),
        areas=_areas(_full_size(anomaly_map, photo.size), detector.calibration.peaks),
    )


def _full_size(anomaly_map: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    full = F.interpolate(anomaly_map[None, None], (height, width), mode="bilinear", align_corners=False)
    return full[0, 0].numpy()


def _areas(anomaly_map: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of pixels strictly above each of the ascending thresholds (n,), compared in the map's float32."""
    thresholds = thresholds.astype(np.float32)
    high = np.sort(anomaly_map[anomaly_map > thresholds[0]])  # few pixels of most images
    return (high.size - np.searchsorted(high, thresholds, side="right")) / anomaly_map.size
