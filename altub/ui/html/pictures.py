"""Small pictures for the page, inlined as data: nothing of the user's files is served by its path."""

from __future__ import annotations

import base64
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from PIL import Image

from altub.data import read_mask, read_thumbnail
from altub.errors import ImageError
from altub.plots import DEFECT
from altub.ui.watch import stamp

__all__ = ["broken_tile", "data_uri", "mask_uri", "thumbnail_uri"]

CACHED = 512  # thumbnails; about 5 KB each
WEBP_QUALITY = 82


def data_uri(image: Image.Image, *, lossless: bool = False) -> str:
    """The picture as a WebP `data:` address."""
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=WEBP_QUALITY, method=2, lossless=lossless)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def thumbnail_uri(path: Path, side: int) -> str | None:
    """The image file within side x side pixels; None where it cannot be read."""
    return _thumbnail(path, side, stamp(path))


def mask_uri(path: Path, side: int) -> str | None:
    """The mask file in the colour of defects on black, within side x side pixels; None where it cannot be read."""
    return _mask(path, side, stamp(path))


def broken_tile() -> str:
    """What stands in the place of a picture that cannot be read."""
    return '<span class="broken">cannot be read</span>'


@lru_cache(maxsize=CACHED)
def _thumbnail(path: Path, side: int, _: tuple[int, int]) -> str | None:
    try:
        return data_uri(read_thumbnail(path, side))
    except ImageError:
        return None


@lru_cache(maxsize=CACHED)
def _mask(path: Path, side: int, _: tuple[int, int]) -> str | None:
    try:
        mask = Image.fromarray(read_mask(path)).resize((side, side))
    except ImageError:
        return None
    return data_uri(
        Image.composite(Image.new("RGB", mask.size, DEFECT), Image.new("RGB", mask.size), mask.convert("L"))
    )
