"""Predictions as files: overlays, maps, masks and a table, in a folder or a zip archive.

    predictions.csv           one row an image, see `altub.inference.table`
    overlays/<name>.png       the photo with the heatmap over it and a line around the defects; also .jpg or .webp
    maps/<name>.tiff          the anomaly map at the image's own size, as a float32 TIFF, values as they are; or as a
                              16-bit .png in units (`altub.inference.export_files`)
    masks/<name>_mask.png     255 where the map is above the pixel threshold (see `Verdict.pixel_value`), 0 elsewhere

The command line and the page write the same files. Nothing here imports gradio.
"""

from __future__ import annotations

import os
import re
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from altub.data import is_image_file, opened_in_chunks
from altub.data.category import is_hidden
from altub.data.images.formats import LARGE_PIXELS
from altub.errors import DataError
from altub.files import explain_full_disk, printable, replacing
from altub.inference.export_files import (
    MAP_FORMATS,
    OVERLAY_FORMATS,
    MapFormat,
    OverlayFormat,
    check_format,
    write_map,
    write_overlay,
    write_png,
    write_unit_map,
)
from altub.inference.prediction import MaskedVerdict
from altub.inference.report import ReportWriter
from altub.inference.table import Row, error_row, table_to_csv, verdict_row
from altub.plots import COLOUR_MAPS, overlay
from altub.plots.enlarge import enlarged_strips

if TYPE_CHECKING:
    from altub.inference.calibration import Calibration
    from altub.inference.detector import AnomalyDetector
    from altub.inference.prediction import Prediction
    from altub.inference.threshold import Threshold

__all__ = [
    "PredictionArchive",
    "PredictionWriter",
    "UniqueNames",
    "collect_images",
    "predict_to_folder",
    "write_map",
]

SHOWN_PIXELS = 3840 * 2160  # of a large image: what a screen of high resolution shows
_LONGEST_NAME, _LONGEST_BYTES = 100, 180  # characters, and as UTF-8; file systems end at 255 bytes


def collect_images(paths: Sequence[str | Path], skip: str | Path | None = None) -> list[Path]:
    """The image files behind files and folders: folders recursively and sorted, hidden files left out, none twice.

    A file that is named itself is taken, whatever its suffix. `skip` is a folder to leave out, such as the one that
    results are written to.

    Raises:
        DataError: a path is not there, or there is no image in all of them.
    """
    left_out = None if skip is None else Path(skip).resolve()
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            found.update(dict.fromkeys(_images_below(path, left_out)))
        elif path.exists():
            found[path] = None
        else:
            raise DataError(f"{printable(str(path))} does not exist: check the path.")
    if not found:
        where = ", ".join(str(path) for path in paths) or "nothing"
        raise DataError(f"There is no image in {where}: give image files, or folders that hold some.")
    return list(found)


def _images_below(folder: Path, left_out: Path | None) -> Iterable[Path]:
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(
            name for name in folders if not is_hidden(here / name) and (here / name).resolve() != left_out
        )
        yield from (here / name for name in sorted(files) if not is_hidden(here / name) and is_image_file(name))


class UniqueNames:
    """File names without directory or ending, safe on every file system, unique regardless of case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __call__(self, name: str) -> str:
        """ "../a b.png" -> "a b", then "a b_2", "a b_3" and so on."""
        base = re.split(r"[\\/]", unicodedata.normalize("NFC", printable(name)))[-1]
        base = re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", Path(base).stem).strip(". ")[:_LONGEST_NAME]
        base = base.encode()[:_LONGEST_BYTES].decode(errors="ignore") or "image"
        unique, number = base, 1
        while unique.casefold() in self._taken:
            number += 1
            unique = f"{base}_{number}"
        self._taken.add(unique.casefold())
        return unique


class PredictionWriter:
    """Writes predictions to a folder, file by file, and predictions.csv when it is closed.

    Use it in a `with` block: also a batch that is interrupted then leaves the table of what was done. Files of an
    earlier batch with the same names are replaced.

    Args:
        folder: made if it is not there.
        calibration: of the model; gives the fixed colour range of the overlays.
        threshold: of verdicts, masks and the line around the defects.
        opacity, colour_map, contour: as in `altub.plots.overlay`.
        reduce_large: overlays and maps of images above `LARGE_PIXELS` are scaled down to `SHOWN_PIXELS`; masks are not.
        masks: False writes none.
        overlays, maps: their formats, of `altub.inference.export_files`; "none" writes none.

    Raises:
        ConfigError: there is no such format.
        DiskFullError: (from `add` and `close`) there is no room.
    """

    def __init__(
        self,
        folder: str | Path,
        calibration: Calibration,
        threshold: Threshold,
        *,
        opacity: float = 0.5,
        colour_map: str = COLOUR_MAPS[0],
        contour: bool = True,
        reduce_large: bool = False,
        masks: bool = True,
        overlays: OverlayFormat = "png",
        maps: MapFormat = "tiff",
    ) -> None:
        check_format("Overlays", overlays, OVERLAY_FORMATS)
        check_format("Maps", maps, MAP_FORMATS)
        self.overlays, self.maps = overlays, maps
        self.folder, self.threshold, self.reduce_large, self.masks = Path(folder), threshold, reduce_large, masks
        self.rows: list[Row] = []
        self.calibration = calibration
        self._range = calibration.colour_low, calibration.colour_high
        self._look = {"opacity": opacity, "colour_map": colour_map, "contour": contour}
        self._unique = UniqueNames()

    def add(self, image_name: str, image: Image.Image, prediction: Prediction) -> Row:
        """Writes the pictures of one image (RGB, at its own size); returns its row."""
        name = self._unique(image_name)
        verdict = prediction.at(self.threshold) if self.masks else prediction.verdict(self.threshold)
        size = _reduced(image.size) if self.reduce_large else image.size
        if size != image.size:
            image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
        row = verdict_row(image_name, prediction.score, prediction.p_value, verdict, self.calibration) | {
            "overlay": None if self.overlays == "none" else f"overlays/{name}.{OVERLAY_FORMATS[self.overlays]}",
            "map": None if self.maps == "none" else f"maps/{name}.{MAP_FORMATS[self.maps]}",
            "mask": f"masks/{name}_mask.png" if self.masks else None,
        }
        if row["overlay"]:
            level = verdict.pixel_value
            shown = overlay(image, prediction.model_map, *self._range, threshold=level, **self._look)
            with self._writing(row["overlay"]) as file:
                write_overlay(shown, file, self.overlays)
        if row["map"]:
            with self._writing(row["map"]) as file:
                strips = enlarged_strips(prediction.model_map, size)
                if self.maps == "png":
                    write_unit_map(strips, size, self.calibration.pixel_unit, file)
                else:
                    write_map(strips, size, file)
        if isinstance(verdict, MaskedVerdict):
            with self._writing(row["mask"]) as file:
                write_png(Image.fromarray(verdict.mask.view(np.uint8) * np.uint8(255)), file)
        self.rows.append(row)
        return row

    def add_error(self, image_name: str, error: str) -> Row:
        """A row for an image that could not be read."""
        row = error_row(image_name, error)
        self.rows.append(row)
        return row

    def close(self) -> None:
        with self._writing("predictions.csv") as file:
            file.write(table_to_csv(self.rows).encode())

    @contextmanager
    def _writing(self, name: str) -> Iterator[IO[bytes]]:
        path = self.folder / name
        with explain_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            yield file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PredictionArchive(PredictionWriter):
    """The same files in one zip archive, which is at its place only once it is complete.

    Args:
        path: of the archive; its folder must be there.
    """

    def __init__(self, path: str | Path, calibration: Calibration, threshold: Threshold, **look: Any) -> None:
        super().__init__(Path(path).parent, calibration, threshold, **look)
        self.path = Path(path)
        self._part = self.path.with_name(f".{self.path.name}.part")
        with explain_full_disk(self.path):
            self._zip = zipfile.ZipFile(self._part, "w")

    @contextmanager
    def _writing(self, name: str) -> Iterator[IO[bytes]]:
        entry = zipfile.ZipInfo(name, time.localtime()[:6])
        entry.external_attr = 0o644 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED if name.endswith(".csv") else zipfile.ZIP_STORED  # packed already
        with explain_full_disk(self.path), self._zip.open(entry, "w", force_zip64=True) as file:
            yield file

    def close(self) -> None:
        super().close()
        with explain_full_disk(self.path):
            self._zip.close()
            os.replace(self._part, self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:  # an incomplete archive is removed; a complete one has been moved to its place
            self._part.unlink(missing_ok=True)


def predict_to_folder(
    detector: AnomalyDetector,
    images: Sequence[Path],
    folder: str | Path,
    *,
    threshold: Threshold | None = None,
    image_size: int | None = None,
    overlays: OverlayFormat = "png",
    maps: MapFormat = "tiff",
    masks: bool = True,
    report: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Predicts every image and writes all of the above; an image that cannot be read becomes a row with an error.

    Args:
        images: from `collect_images`.
        threshold: of verdicts and masks; None: the model's own.
        overlays, maps, masks: as in `PredictionWriter`.
        report: name of the model in report.html (`altub.inference.report`); None writes no report.
        progress: called with the number of images done and the number of all.

    Returns:
        The rows of predictions.csv, in the order of `images`.

    Raises:
        ModelError: the model was never calibrated.
        DiskFullError: there is no room; predictions.csv holds what was done, if there is room for that.
    """
    calibration = detector.require_calibration()
    threshold, folder = threshold or detector.threshold, Path(folder)
    with ExitStack() as stack:
        writer = stack.enter_context(
            PredictionWriter(folder, calibration, threshold, overlays=overlays, maps=maps, masks=masks)
        )
        paper = None
        if report is not None:
            with explain_full_disk(folder):
                folder.mkdir(parents=True, exist_ok=True)
            paper = stack.enter_context(ReportWriter(folder / "report.html", report, calibration, threshold))
        for chunk in opened_in_chunks(images, lambda path: path, pixel_range=detector.config.pixel_range):
            readable = [image for _, image in chunk if isinstance(image, Image.Image)]
            predictions = detector.predict_many(readable, image_size=image_size)
            for path, image in chunk:
                if isinstance(image, Image.Image):
                    prediction = next(predictions)
                    writer.add(str(path), image, prediction)
                    if paper is not None:
                        paper.add(str(path), image, prediction, prediction.verdict(threshold))
                else:
                    writer.add_error(str(path), str(image))
                    if paper is not None:
                        paper.add_error(str(path), str(image))
                if progress is not None:
                    progress(len(writer.rows), len(images))
            readable.clear()
    return writer.rows


def _reduced(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) at which an image is drawn where large ones are scaled down."""
    width, height = size
    if width * height <= LARGE_PIXELS:
        return size
    scale = (SHOWN_PIXELS / (width * height)) ** 0.5
    return max(1, round(width * scale)), max(1, round(height * scale))
