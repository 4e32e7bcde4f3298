"""Which files count as images, and which sizes are refused."""

from __future__ import annotations

from pathlib import Path

from altub.errors import ImageError

__all__ = ["FORMATS", "IMAGE_SUFFIXES", "LARGE_PIXELS", "MAX_SIDE", "check_size", "is_image_file", "too_large"]

#: Files with another ending are not looked at when a folder is listed. Decoding goes by content, not by
#: ending.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".avif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga"}
)

#: Pillow's names of the formats that are read. It knows about forty more: rare ones whose decoders are written in
#: Python (an 18 MB DDS takes half a minute), and EPS and WMF, for which it starts another program.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "AVIF", "PPM", "JPEG2000", "TGA")

#: Images with more pixels than this are decoded in a process of their own, few at a time, and shown reduced.
LARGE_PIXELS = 25_000_000

#: Longest side in pixels. Pillow and libpng fail in various ways beyond some tens of millions.
MAX_SIDE = 250_000


def is_image_file(path: str | Path) -> bool:
    """True where the file name ends like an image's, in whatever case; the file is not opened."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def check_size(size: tuple[int, int], limit: int, name: str) -> None:
    """Refuses an image of (width, height) without pixels, or with more than `limit`.

    Raises:
        ImageError: naming the file.
    """
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels.")
    if width * height > limit:
        raise ImageError(too_large(name, f"{width} x {height}", limit))
    if max(size) > MAX_SIDE:
        raise ImageError(
            f"{name} has {width} x {height} pixels, and a side may have {MAX_SIDE:,}: cut it into several images."
        )


def too_large(name: str, pixels: str, limit: int) -> str:
    """The sentence for an image with too many pixels."""
    return (
        f"{name} has {pixels} pixels, more than the {limit:,} allowed: make it smaller, or raise "
        "ALTUB_MAX_PIXELS if this machine has the memory for it."
    )
