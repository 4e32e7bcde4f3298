"""Image files made by hand."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

__all__ = ["encoded", "photo", "png_of", "tiff_of"]


def photo(height: int = 60, width: int = 90) -> Image.Image:
    """A picture that does not compress to nothing."""
    rng = np.random.default_rng(0)
    waves = np.cumsum(rng.normal(0, 3, (height, width, 3)), axis=1) + 120
    return Image.fromarray(np.clip(waves, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A black PNG of one bit a pixel: a few kilobytes for a hundred million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer, row = zlib.compressobj(9), bytes(1 + -(-width // 8))
    pixels = b"".join(packer.compress(row * min(1000, height - top)) for top in range(0, height, 1000)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff_of(pages: int = 1, *, height: int = 1, strips: int = 1) -> bytes:
    """Grey pages one pixel wide; the file says that each has so many strips."""
    rows = height // strips
    content = bytearray(b"II*\0" + struct.pack("<I", 8))
    for page in range(pages):
        tags = [(256, 3, 1, 1), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
        data = len(content) + 2 + 12 * (len(tags) + 3) + 4
        lists = data + height
        offsets = np.arange(strips, dtype="<u4") * rows + data
        tags += [
            (273, 4, strips, data if strips == 1 else lists),
            (278, 4, 1, rows),
            (279, 4, strips, rows if strips == 1 else lists + 4 * strips),
        ]
        following = lists + (8 * strips if strips > 1 else 0)
        following += following % 2
        content += struct.pack("<H", len(tags))
        for tag, kind, count, value in sorted(tags):
            content += struct.pack("<HHII", tag, kind, count, value)
        content += struct.pack("<I", following if page < pages - 1 else 0) + bytes([7]) * height
        if strips > 1:
            content += offsets.tobytes() + np.full(strips, rows, "<u4").tobytes()
        content += bytes(following - len(content))
    return bytes(content)
