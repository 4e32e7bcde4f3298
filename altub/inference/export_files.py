"""The files of an export, one picture each, in the formats that one can choose.

overlays    png (exact), jpeg or webp (a tenth of the size)
maps        tiff: raw values as float32, exact; png: 1000 times the value in units of pixels, as 16 bits
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import IO, Any, Literal, get_args

import numpy as np
from PIL import Image

from altub.errors import ConfigError
from altub.inference.units import Unit

__all__ = [
    "MAP_FORMATS",
    "OVERLAY_FORMATS",
    "MapFormat",
    "OverlayFormat",
    "check_format",
    "write_map",
    "write_overlay",
    "write_png",
    "write_unit_map",
]

OverlayFormat = Literal["png", "jpeg", "webp", "none"]
MapFormat = Literal["tiff", "png", "none"]
OVERLAY_FORMATS: dict[str, str] = {"png": "png", "jpeg": "jpg", "webp": "webp", "none": ""}  # name -> ending of files
MAP_FORMATS: dict[str, str] = {"tiff": "tiff", "png": "png", "none": ""}
assert set(OVERLAY_FORMATS) == set(get_args(OverlayFormat)) and set(MAP_FORMATS) == set(get_args(MapFormat))

STEPS = 1000  # of a 16-bit map in one unit
_LARGEST = 65_535
_FLOAT = 3  # SampleFormat of a TIFF
_SAVE: dict[str, dict[str, Any]] = {
    # A third of the time of the default level, hardly larger.
    "png": {"format": "PNG", "compress_level": 3},
    "jpeg": {"format": "JPEG", "quality": 90, "subsampling": 0},
    "webp": {"format": "WEBP", "quality": 88, "method": 2},
}
WEBP_SIDE = 16_383  # the largest that the format holds


def check_format(what: str, name: str, known: dict[str, str]) -> None:
    """Raises:
    ConfigError: there is no such format.
    """
    if name not in known:
        raise ConfigError(f"{what} cannot be written as {name!r}: use {', '.join(known)}.")


def write_overlay(image: Image.Image, file: IO[bytes], kind: str) -> None:
    """An RGB picture in one of `OVERLAY_FORMATS`; what is too large for WebP is written within its bounds."""
    if kind == "webp" and max(image.size) > WEBP_SIDE:
        image = image.copy()
        image.thumbnail((WEBP_SIDE, WEBP_SIDE))
    image.save(_Stream(file), **_SAVE[kind])


def write_png(image: Image.Image, file: IO[bytes]) -> None:
    """Any picture, as PNG."""
    image.save(_Stream(file), **_SAVE["png"])


def write_unit_map(
    strips: Iterable[tuple[int, np.ndarray]], size: tuple[int, int], unit: Unit, file: IO[bytes]
) -> None:
    """Writes an anomaly map as a 16-bit PNG: round(1000 * value in units of pixels), so that 1000 is the highest value
    on a held-out good image. What is below typical (0) becomes 0, what is above 65.535 becomes 65535.

    Args:
        strips: the map's rows from top to bottom, raw, as from `enlarged_strips`.
        size: (width, height) of the map.
        unit: `Calibration.pixel_unit`.
    """
    width, height = size
    levels = np.empty((height, width), np.uint16)
    for top, strip in strips:
        levels[top : top + len(strip)] = np.clip(np.rint(STEPS * unit.of(strip)), 0, _LARGEST)
    write_png(Image.fromarray(levels), file)


def write_map(strips: Iterable[tuple[int, np.ndarray]], size: tuple[int, int], file: IO[bytes]) -> None:
    """Writes an anomaly map as a float32 TIFF of one channel: exact values.

    Not compressed: floats hardly shrink without the predictors that many readers of TIFF lack.

    Args:
        strips: the map's rows from top to bottom, as from `enlarged_strips`.
        size: (width, height) of the map.
    """
    width, height = size
    # (tag, type, value): short is 3, long is 4; all have one value, and one strip holds all rows.
    tags = [(256, 4, width), (257, 4, height), (258, 3, 32), (259, 3, 1), (262, 3, 1), (273, 4, 0), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, 4 * width * height), (339, 3, _FLOAT)]
    pixels = 8 + 2 + 12 * len(tags) + 4
    # Little-endian: a short fills the first two of the four bytes of its place.
    entries = [struct.pack("<HHII", tag, kind, 1, pixels if tag == 273 else value) for tag, kind, value in tags]
    file.write(b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4))
    for _, strip in strips:
        file.write(np.ascontiguousarray(strip, dtype="<f4").data)


class _Stream:
    """A file without its number: Pillow would write to that by itself, and a full disk would be an encoder's error."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write, self.flush = file.write, file.flush
