"""Which value is white in images of more than 8 bits.

8-bit formats leave no question. Others are containers: a camera of 12 bits writes into files of 16, and floating point
may mean 0 to 1 or 0 to 255. In this order:

1. The file says it: a TIFF of 12 bits or with a MaxSampleValue, a PGM (scaled to 16 bits by its own maximum) and a
   JPEG 2000 (the same).
2. The `PixelRange` of the category: measured once on its training images (`measure_pixel_range`) and stored with the
   model, so that all its images are read the same. Single bright pixels have no influence on it.
3. Where the training images told nothing (they had 8 bits), the image available, measured in the same way.

Without a `PixelRange`, which is how version 0.1.0 read every image and how its models still read them, the image's
largest value decides: white is the full depth of 8, 12 or 16 bits that holds it, beyond that the value itself, and for
floating point up to 1 it is 1. A single bright pixel then darkens the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from altub.errors import ImageError

__all__ = ["PixelRange", "is_deep", "level", "measure_pixel_range", "to_8_bit", "white_of_file", "white_of_range"]

DEPTHS = (8, 10, 12, 14, 16)  # bits of cameras
LEVEL = 0.999  # share of an image's pixels that are at most as bright as its level
LEVEL_OF_IMAGES = 0.95  # share of the training images whose level is at most the category's
LOOKED_AT, MEASURED = 256, 64  # training images whose kind is looked at, and of those the ones that are measured
SAMPLE_PIXELS = 1_000_000  # of each

_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281  # tags of TIFF


@dataclass(frozen=True)
class PixelRange:
    """Which values of deep images become 255. None: no training image was of this kind, and each image decides.

    Attributes:
        integers: white of images with more than 8 bits.
        floats: white of floating-point images.
    """

    integers: float | None = None
    floats: float | None = None

    def __post_init__(self) -> None:
        for white in (self.integers, self.floats):
            if white is not None and not (math.isfinite(white) and white > 0):
                raise ValueError(f"white is {white}: it must be a positive number")

    @property
    def notes(self) -> list[str]:
        """What a user should know, one sentence for each kind of image."""
        found = []
        if self.integers is not None:
            bits = math.log2(self.integers + 1)
            depth = f" ({bits:.0f} bits)" if bits.is_integer() else ""
            found.append(
                f"Images with more than 8 bits are read with {self.integers:,.0f} as white{depth}, as measured on the "
                "training images."
            )
        if self.floats is not None:
            found.append(
                f"Floating-point images are read with {self.floats:,g} as white, as measured on the training images."
            )
        return found


def is_deep(image: Image.Image) -> bool:
    """Does this image have more than 8 bits, or floating-point values?"""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def white_of_file(image: Image.Image) -> float | None:
    """White of a deep image where its file says it."""
    if image.format in ("PPM", "JPEG2000") and image.mode != "F":
        return 65535.0  # Pillow has scaled them to this
    tags = getattr(image, "tag_v2", None)
    if tags is None or image.mode == "F":
        return None
    bits, largest = _first(tags.get(_BITS_PER_SAMPLE)), _first(tags.get(_MAX_SAMPLE_VALUE))
    if bits is None:
        return None
    if bits not in (16, 32):
        return float(2**bits - 1) if 8 < bits < 32 else None
    # A writer that does not know gives the largest value of the container.
    return _snapped(largest) if largest is not None and 255 <= largest < 2**bits - 1 else None


def white_of_range(values: np.ndarray, pixel_range: PixelRange | None) -> float:
    """White of an array (H, W[, C]) of integers or floats."""
    floating = values.dtype.kind == "f"
    if pixel_range is None:
        return _white_of_largest(float(values.max()), floating)
    white = pixel_range.floats if floating else pixel_range.integers
    return white if white is not None else _white_of_level(level(values), floating)


def to_8_bit(values: np.ndarray, white: float) -> np.ndarray:
    """Values from 0 to `white` as uint8; what lies outside takes the ends."""
    scaled = np.clip(values.astype(np.float64) * (255 / white), 0, 255)
    return np.rint(scaled).astype(np.uint8)


def level(values: np.ndarray) -> float:
    """How bright an image gets, but for a thousandth of its pixels."""
    flat = values.reshape(-1)
    flat = flat[:: max(1, flat.size // SAMPLE_PIXELS)]
    place = min(math.ceil(LEVEL * flat.size), flat.size) - 1
    return float(np.partition(flat, place)[place])


def measure_pixel_range(sources: Iterable[Any]) -> PixelRange:
    """The range of a category, from its training images; what cannot be read is passed over.

    Args:
        sources: as for `read_image`.
    """
    from altub.data.images.reading import read_deep

    sources = list(sources)
    step = max(1, math.ceil(len(sources) / LOOKED_AT))
    levels: dict[bool, list[float]] = {True: [], False: []}
    for source in sources[::step]:
        if sum(map(len, levels.values())) >= MEASURED:
            break
        try:
            values = read_deep(source)
        except ImageError:  # whoever trains on it will say so
            continue
        if values is not None:
            levels[values.dtype.kind == "f"].append(level(values))
    whites = {
        floating: _white_of_level(float(np.quantile(found, LEVEL_OF_IMAGES, method="higher")), floating)
        for floating, found in levels.items()
        if found
    }
    return PixelRange(integers=whites.get(False), floats=whites.get(True))


def _white_of_level(value: float, floating: bool) -> float:
    return 1.0 if floating and value <= 1 else _snapped(value)


def _white_of_largest(value: float, floating: bool) -> float:
    if floating and value <= 1:
        return 1.0
    return next((float(full) for full in (255, 4095, 65535) if value <= full), value)


def _snapped(value: float) -> float:
    """The largest value of the depth that holds this one."""
    bits = next((bits for bits in DEPTHS if value <= 2**bits - 1), None)
    return float(2 ** (bits if bits is not None else math.ceil(math.log2(value + 1))) - 1)


def _first(value: Any) -> int | None:
    if isinstance(value, tuple):
        value = value[0] if value else None
    return value if isinstance(value, int) else None
