"""Many inspected images: the model runs once; verdicts at other thresholds are computed from stored results.

A batch keeps numbers in memory and maps in a folder of its own: per image the anomaly map and the maps of the scales at
the model's input size (`<number>.npy`). The full-size map is interpolated again when it is needed, bit for bit the one
that `AnomalyDetector.predict_many` gives, so every threshold can be asked for at any time.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from altub.data import PixelRange, opened, opened_in_chunks
from altub.errors import ImageError, RunError
from altub.files import explain_full_disk
from altub.inference.calibration import Calibration
from altub.inference.exports import PredictionArchive
from altub.inference.marked_area import MarkedAreas
from altub.inference.prediction import Prediction, Verdict, peak_level
from altub.inference.regions import Region
from altub.inference.report import ReportWriter
from altub.inference.table import VALUE_COLUMNS, Row, error_row, table_to_csv, verdict_row
from altub.inference.threshold import Threshold
from altub.plots.enlarge import enlarged_strips

if TYPE_CHECKING:
    import torch

    from altub.inference.detector import AnomalyDetector

__all__ = ["Batch", "Inspected", "Progress", "Source", "Unreadable", "inspect_images"]

Progress = Callable[[int, int], None]  # images done, all images
T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """An image to inspect: its file, and the name that the user knows it by."""

    path: Path
    name: str


@dataclass(frozen=True)
class Unreadable:
    """An image of the batch without a result, and why.

    Attributes:
        is_pending: it was not tried yet, because the batch was stopped before.
    """

    number: int
    source: Source
    error: str
    is_pending: bool = False


@dataclass(frozen=True)
class Inspected:
    """The result of one image of the batch.

    Attributes:
        number: from 1 on, in the order of arrival.
        size: (width, height) of the image.
        areas: how much of it is marked, at any threshold.
        peak_level: map value above which it is marked where it is anomalous and has no pixel above the threshold.
        reasons: as in `Prediction`.
    """

    number: int
    source: Source
    size: tuple[int, int]
    score: float
    p_value: float
    areas: MarkedAreas
    peak_level: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images inspected by one model.

    Attributes:
        calibration: the model's.
        folder: holds the maps; whoever discards the batch removes it.
        items: by number, without gaps.
        pixel_range: the model's, by which images are read.
        regions: where the model looks.
    """

    calibration: Calibration
    folder: Path
    items: tuple[Inspected | Unreadable, ...] = ()
    pixel_range: PixelRange | None = None
    regions: tuple[Region, ...] = ()

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
        """What any threshold makes of an image; the model is not asked.

        Raises:
            RunError: the map is needed for it and was cleaned away meanwhile.
        """
        level, is_anomalous = threshold.pixel_value, threshold.is_exceeded_by(item.score)
        area = item.areas.above(level, lambda: self._strips(item))
        if is_anomalous and not area:
            level = item.peak_level
            area = item.areas.above(level, lambda: self._strips(item))
        borderline = threshold.is_borderline(item.score)
        return Verdict(is_anomalous, area, threshold, borderline, level, item.reasons)

    def maps(self, item: Inspected) -> tuple[np.ndarray, np.ndarray]:
        """The map (h, w) and the scales (scales, h, w), float32, at the model's input size.

        Raises:
            RunError: the files were cleaned away meanwhile.
        """
        arrays = self.read(item, lambda: np.load(self._maps_file(item), allow_pickle=False))
        return arrays[0], arrays[1:]

    def prediction(self, item: Inspected) -> Prediction:
        """What `AnomalyDetector.predict` returned.

        Raises:
            RunError: the files were cleaned away meanwhile.
        """
        import torch

        anomaly_map, scales = map(torch.from_numpy, self.maps(item))
        anomaly_score = self.calibration.anomaly_score(item.score)
        return Prediction.from_maps(
            anomaly_map, scales, item.size, item.score, item.p_value, item.reasons, anomaly_score, self.regions
        )

    def read(self, item: Inspected, read: Callable[[], T]) -> T:
        """What `read` gives from the files of an image.

        Raises:
            RunError: they were cleaned away meanwhile, or are damaged.
        """
        try:
            return read()
        except (OSError, ValueError) as error:
            raise RunError(f"The results of {item.source.name} are no longer kept: inspect it again.") from error

    # Exports.

    def rows(self, threshold: Threshold) -> list[Row]:
        """The rows of predictions.csv, without the pictures' paths."""
        return [self._row(item, threshold) for item in self.items]

    def _row(self, item: Inspected | Unreadable, threshold: Threshold) -> Row:
        if isinstance(item, Unreadable):
            return error_row(item.source.name, item.error)
        verdict = self.verdict(item, threshold)
        return verdict_row(item.source.name, item.score, item.p_value, verdict, self.calibration)

    def write_csv(self, threshold: Threshold) -> Path:
        """predictions.csv at this threshold, in a folder of its own; earlier exports are removed."""
        text = table_to_csv(self.rows(threshold), VALUE_COLUMNS)
        path = self._fresh_folder() / "predictions.csv"
        with explain_full_disk(path):
            path.write_text(text, encoding="utf-8")
        return path

    def write_zip(self, threshold: Threshold, *, progress: Progress | None = None, **settings: Any) -> Path:
        """Overlays, maps, masks and predictions.csv of the whole batch, at the images' own sizes; overlays and maps of
        large ones are scaled down.

        Args:
            settings: look and formats, as of `PredictionWriter`.

        Raises:
            ConfigError: the colour map, the opacity or a format is not possible.
            DiskFullError: there is no room.
        """
        path = self._fresh_folder() / "predictions.zip"
        with PredictionArchive(path, self.calibration, threshold, reduce_large=True, **settings) as archive:
            for name, photo in self._photos(progress):
                if isinstance(photo, str):
                    archive.add_error(name, photo)
                else:
                    archive.add(name, *photo)
        return path

    def write_report(self, threshold: Threshold, model: str, *, progress: Progress | None = None, **look: Any) -> Path:
        """The whole batch as one HTML file, see `altub.inference.report`.

        Raises:
            ConfigError: the colour map or the opacity is not possible.
            DiskFullError: there is no room.
        """
        path = self._fresh_folder() / "report.html"
        with ReportWriter(path, model, self.calibration, threshold, **look) as report:
            for name, photo in self._photos(progress):
                if isinstance(photo, str):
                    report.add_error(name, photo)
                else:
                    image, prediction = photo
                    report.add(name, image, prediction, prediction.verdict(threshold))
        return path

    def _photos(self, progress: Progress | None) -> Iterator[tuple[str, str | tuple[Image.Image, Prediction]]]:
        """Name, and photo with prediction or why there is none, of every image."""
        for done, item in enumerate(self.items, start=1):
            if isinstance(item, Unreadable):
                yield item.source.name, item.error
            else:
                prediction = self.prediction(item)
                try:
                    with opened(item.source.path, pixel_range=self.pixel_range) as photo:
                        yield item.source.name, (photo, prediction)
                except ImageError as error:  # an upload may have been cleaned away
                    yield item.source.name, str(error)
            if progress is not None:
                progress(done, len(self.items))

    def _fresh_folder(self) -> Path:
        for earlier in self.folder.glob("export-*/*.*"):  # archives are large and have been downloaded by now
            shutil.rmtree(earlier.parent, ignore_errors=True)
        folder = self.folder / f"export-{secrets.token_hex(8)}"
        with explain_full_disk(folder):
            folder.mkdir(parents=True)
        return folder

    def _maps_file(self, item: Inspected) -> Path:
        return self.folder / f"{item.number}.npy"

    def _strips(self, item: Inspected) -> Iterator[np.ndarray]:
        """Rows of the full-size map."""
        # Mapped, not read: the scales behind the map are not needed.
        stored = self.read(item, lambda: np.load(self._maps_file(item), mmap_mode="r", allow_pickle=False)[0].copy())
        return (strip for _, strip in enlarged_strips(stored, item.size))


def inspect_images(
    detector: AnomalyDetector,
    sources: Sequence[Source],
    folder: Path,
    *,
    first_number: int = 1,
    on_photo: Callable[[int, Image.Image], None] | None = None,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Inspected | Unreadable]:
    """Runs the model on every image, once; one that cannot be read does not stop the others.

    Args:
        folder: gets the maps; must be there.
        on_photo: called with the number and the decoded image of each one that was inspected.
        should_stop: asked after every few images; what was inspected until then is returned.

    Raises:
        ModelError: the model gives no finite score.
        DiskFullError: there is no room in `folder`.
    """
    items: list[Inspected | Unreadable] = []
    if progress is not None:
        progress(0, len(sources))
    pixel_range = detector.config.pixel_range
    for chunk in opened_in_chunks(sources, lambda source: source.path, pixel_range=pixel_range):
        photos = [photo for _, photo in chunk if isinstance(photo, Image.Image)]
        results = detector.look_at(photos) if photos else iter(())
        for source, photo in chunk:
            number = first_number + len(items)
            if isinstance(photo, Image.Image):
                items.append(_keep(detector, folder, number, source, photo, *next(results)))
                if on_photo is not None:
                    on_photo(number, photo)
            else:
                items.append(Unreadable(number, source, str(photo)))
        if progress is not None:
            progress(len(items), len(sources))
        if should_stop():
            break
    return items


def _keep(
    detector: AnomalyDetector,
    folder: Path,
    number: int,
    source: Source,
    photo: Image.Image,
    anomaly_map: torch.Tensor,
    scales: torch.Tensor,
    reasons: tuple[str, ...],
) -> Inspected:
    import torch

    score, calibration = detector.score(scales), detector.require_calibration()
    with explain_full_disk(folder / f"{number}.npy"):
        np.save(folder / f"{number}.npy", torch.cat([anomaly_map[None], scales]).numpy())
    size = photo.size
    strips = (strip for _, strip in enlarged_strips(anomaly_map.numpy(), size))
    level = peak_level(anomaly_map.numpy(), np.inf)
    areas = MarkedAreas.measure(strips, [*calibration.peaks, level])
    level = peak_level(anomaly_map.numpy(), areas.highest)
    return Inspected(number, source, size, score, calibration.p_value(score), areas, level, reasons)
