"""Predictions as files: overlays, maps, masks and a table, in a folder or a zip archive.

    predictions.csv           one row an image, see `altub.inference.table`
    overlays/<name>.png       the photo with the heatmap over it and a line around the defects
    maps/<name>.tiff          the anomaly map at the image's own size, as a float32 TIFF, values as they are
    masks/<name>_mask.png     255 where the map is above its threshold, 0 elsewhere

The command line and the page write the same files. Nothing here imports gradio.
"""

from __future__ import annotations

import io
import os
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from altub.data import is_image_file, read_image
from altub.data.category import is_hidden
from altub.errors import DataError, ImageError
from altub.files import explain_full_disk, write_atomically
from altub.inference.table import Row, error_row, table_to_csv, verdict_row
from altub.plots import COLOUR_MAPS, overlay

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
    "encode_map",
    "predict_to_folder",
]

READ_AHEAD = 8  # images opened at a time
_LONGEST_NAME = 100  # characters; file systems end at 255 bytes


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
            raise DataError(f"{path} does not exist: check the path.")
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
        base = re.split(r"[\\/]", unicodedata.normalize("NFC", name))[-1]
        base = re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", Path(base).stem).strip(". ")[:_LONGEST_NAME] or "image"
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

    Raises:
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
    ) -> None:
        self.folder, self.threshold = Path(folder), threshold
        self.rows: list[Row] = []
        self._range = calibration.colour_low, calibration.colour_high
        self._look = {"opacity": opacity, "colour_map": colour_map, "contour": contour}
        self._unique = UniqueNames()

    def add(self, image_name: str, image: Image.Image, prediction: Prediction) -> Row:
        """Writes the three pictures of one image (RGB, at its own size); returns its row."""
        name, verdict = self._unique(image_name), prediction.at(self.threshold)
        line = self.threshold.pixel_value
        shown = overlay(image, prediction.anomaly_map, *self._range, threshold=line, **self._look)
        row = verdict_row(image_name, prediction.score, prediction.p_value, verdict) | {
            "overlay": f"overlays/{name}.png",
            "map": f"maps/{name}.tiff",
            "mask": f"masks/{name}_mask.png",
        }
        self._write(row["overlay"], _png(shown))
        self._write(row["map"], encode_map(prediction.anomaly_map))
        self._write(row["mask"], _png(Image.fromarray(verdict.mask.astype(np.uint8) * 255)))
        self.rows.append(row)
        return row

    def add_error(self, image_name: str, error: str) -> Row:
        """A row for an image that could not be read."""
        row = error_row(image_name, error)
        self.rows.append(row)
        return row

    def close(self) -> None:
        self._write("predictions.csv", table_to_csv(self.rows).encode())

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        with explain_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)

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

    def _write(self, name: str, content: bytes) -> None:
        packed = zipfile.ZIP_DEFLATED if name.endswith(".csv") else zipfile.ZIP_STORED  # pictures are packed already
        with explain_full_disk(self.path):
            self._zip.writestr(name, content, compress_type=packed)

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
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Predicts every image and writes all of the above; an image that cannot be read becomes a row with an error.

    Args:
        images: from `collect_images`.
        threshold: of verdicts and masks; None: the model's own.
        progress: called with the number of images done and the number of all.

    Returns:
        The rows of predictions.csv, in the order of `images`.

    Raises:
        ModelError: the model was never calibrated.
        DiskFullError: there is no room; predictions.csv holds what was done, if there is room for that.
    """
    calibration = detector.require_calibration()
    with PredictionWriter(folder, calibration, threshold or detector.threshold) as writer:
        for start in range(0, len(images), READ_AHEAD):
            opened = [(path, _read_or_say_why(path)) for path in images[start : start + READ_AHEAD]]
            readable = [image for _, image in opened if isinstance(image, Image.Image)]
            predictions = detector.predict_many(readable, image_size=image_size)
            for path, image in opened:
                if isinstance(image, Image.Image):
                    writer.add(str(path), image, next(predictions))
                else:
                    writer.add_error(str(path), image)
                if progress is not None:
                    progress(len(writer.rows), len(images))
    return writer.rows


def _read_or_say_why(path: Path) -> Image.Image | str:
    try:
        return read_image(path)
    except ImageError as error:
        return str(error)


def encode_map(anomaly_map: np.ndarray) -> bytes:
    """An anomaly map (H, W) as a float32 TIFF of one channel: exact values.

    Not compressed: floats hardly shrink without the predictors that many readers of TIFF lack.
    """
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(anomaly_map, dtype=np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)  # a third of the time of the default, hardly larger
    return buffer.getvalue()
