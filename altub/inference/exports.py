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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from altub.data import is_image_file
from altub.data.category import is_hidden
from altub.data.images.formats import LARGE_PIXELS
from altub.errors import DataError
from altub.files import explain_full_disk, printable, replacing
from altub.inference.drawing import draw_verdict
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
from altub.inference.table import Row, csv_lines, error_row, verdict_row
from altub.plots import COLOUR_MAPS
from altub.plots.enlarge import enlarged_strips

if TYPE_CHECKING:
    from altub.inference.calibration import Calibration
    from altub.inference.prediction import Prediction
    from altub.inference.threshold import Threshold

__all__ = [
    "PredictionArchive",
    "PredictionWriter",
    "UniqueNames",
    "collect_images",
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
        self.take(unique)
        return unique

    def take(self, name: str) -> None:
        """This name is in use already."""
        self._taken.add(name.casefold())


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
        self._look = {"opacity": opacity, "colour_map": colour_map, "contour": contour}
        self.unique = UniqueNames()

    def add(self, image_name: str, image: Image.Image, prediction: Prediction) -> Row:
        """Writes the pictures of one image (RGB, at its own size); returns its row."""
        row = self.write(self.unique(image_name), image_name, image, prediction)
        self.rows.append(row)
        return row

    def write(self, name: str, image_name: str, image: Image.Image, prediction: Prediction) -> Row:
        """`add` under a file name of its own, without keeping the row; several threads may write at the same time."""
        verdict = prediction.at(self.threshold) if self.masks else prediction.verdict(self.threshold)
        size = prediction.image_size  # the image may have been read reduced
        size = _reduced(size) if self.reduce_large else size
        row = verdict_row(image_name, prediction.score, prediction.p_value, verdict, self.calibration) | {
            "overlay": None if self.overlays == "none" else f"overlays/{name}.{OVERLAY_FORMATS[self.overlays]}",
            "map": None if self.maps == "none" else f"maps/{name}.{MAP_FORMATS[self.maps]}",
            "mask": f"masks/{name}_mask.png" if self.masks else None,
        }
        if row["overlay"]:
            if size != image.size:
                image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
            shown = draw_verdict(image, prediction, verdict, self.calibration, **self._look)
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
        return row

    def add_error(self, image_name: str, error: str) -> Row:
        """A row for an image that could not be read."""
        row = error_row(image_name, error)
        self.rows.append(row)
        return row

    def close(self) -> None:
        with self._writing("predictions.csv") as file:
            self.write_table(self.rows, file)

    @staticmethod
    def write_table(rows: Iterable[Row], file: IO[bytes]) -> None:
        """Rows as CSV, one at a time."""
        for line in csv_lines(rows):
            file.write(line.encode())

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


def _reduced(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) at which an image is drawn where large ones are scaled down."""
    width, height = size
    if width * height <= LARGE_PIXELS:
        return size
    scale = (SHOWN_PIXELS / (width * height)) ** 0.5
    return max(1, round(width * scale)), max(1, round(height * scale))
