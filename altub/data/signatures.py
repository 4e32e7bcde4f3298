"""The first bytes of image files: whether a file that is named as an image can be one, without decoding it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["has_signature"]

_LENGTH = 16
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG = (b"\xff\xd8\xff",)
_JPEG2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_SIGNATURES: dict[str, tuple[bytes, ...]] = {
    ".png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), _JPEG),
    **dict.fromkeys((".bmp", ".dib"), (b"BM",)),
    **dict.fromkeys((".tif", ".tiff"), _TIFF),
    ".gif": (b"GIF87a", b"GIF89a"),
    **dict.fromkeys((".jp2", ".j2k"), _JPEG2000),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), tuple(b"P%d" % k for k in range(1, 7))),
    ".ico": (b"\0\0\1\0",),
}


def has_signature(path: Path) -> bool:
    """True where the file begins as its ending says; endings without a signature, such as .tga, are not empty."""
    with path.open("rb") as file:
        start = file.read(_LENGTH)
    suffix = path.suffix.lower()
    if suffix == ".webp":
        return start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    if suffix == ".avif":
        return start[4:8] == b"ftyp"
    return start.startswith(_SIGNATURES[suffix]) if suffix in _SIGNATURES else bool(start)
