"""What a file says about its own completeness, checked before Pillow sees it.

| format | checked                                                                                  |
|--------|------------------------------------------------------------------------------------------|
| PNG    | length and checksum of every chunk, of those that Pillow passes over too; the end chunk  |
| JPEG   | the order of its segments, the numbers of its restart markers, the end marker            |
| TIFF   | the first page: strips or tiles lie in the file and have the size that the page asks for; |
|        | the checksum of every strip compressed by zlib                                           |
| WebP   | the lengths of the file and of its chunks                                                |

Nothing else has a checksum: a flipped bit within the pixels of a BMP, PPM, TGA, GIF, JPEG, WebP or JPEG 2000, or of a
TIFF that is not compressed by zlib, changes pixels without a trace. Pillow's own decoders refuse what is cut off.

A file also cannot keep a reader busy by its structure: the numbers of chunks, segments and strips are bounded.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

import numpy as np

from altub.data.images.sources import Encoded
from altub.data.images.tiff import check_tiff
from altub.errors import ImageError

__all__ = ["Findings", "check_integrity"]

BLOCK = 1 << 20  # bytes read at a time
MAX_CHUNKS = 10_000  # of a PNG, beside those of its pixels
MAX_PIXEL_CHUNKS = 1_000_000
MAX_SEGMENTS = 20_000  # of a JPEG
MAX_JPEG = 1 << 30  # bytes; a larger one is not checked

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DRAWINGS = (b"%!PS", b"\xc5\xd0\xd3\xc6")


@dataclass(frozen=True)
class Findings:
    """What the check came across that decoding needs to know.

    Attributes:
        passes: over all pixels that decoding takes (the scans of a progressive JPEG).
    """

    passes: int = 1


def check_integrity(encoded: Encoded) -> Findings:
    """Reads the file once; leaves it at its beginning.

    Raises:
        ImageError: the file is damaged, cut off, or built to keep its reader busy.
    """
    encoded.file.seek(0)
    head = encoded.file.read(16)
    findings = Findings()
    try:
        if head.startswith(_PNG):
            _check_png(encoded)
        elif head.startswith(_JPEG):
            findings = _check_jpeg(encoded)
        elif head.startswith(_TIFF):
            check_tiff(encoded)
        elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            _check_webp(encoded)
        elif head.startswith(_DRAWINGS):
            raise ImageError(f"{encoded.name} is an EPS drawing, not an image: export it as PNG.")
    finally:
        encoded.file.seek(0)
    return findings


def _damaged(encoded: Encoded, why: str) -> ImageError:
    return ImageError(f"{encoded.name} is damaged or cut off ({why}): copy or export it again.")


def _check_png(encoded: Encoded) -> None:
    file, place = encoded.file, len(_PNG)
    others = pixels = 0
    kind = b""
    while kind != b"IEND":
        file.seek(place)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or place + 12 + length > encoded.size:
            raise _damaged(encoded, "it ends too early")
        if not kind.isalpha() or (place == len(_PNG)) != (kind == b"IHDR"):
            raise _damaged(encoded, "its chunks are out of order")
        if kind == b"IDAT":
            pixels += 1
        else:
            others += 1
        if pixels > MAX_PIXEL_CHUNKS or others > MAX_CHUNKS:
            raise ImageError(f"{encoded.name} has too many chunks: export it again.")
        checksum, left = zlib.crc32(kind), length
        while left:
            block = file.read(min(left, BLOCK))
            if not block:  # it became shorter meanwhile
                raise _damaged(encoded, "it ends too early")
            checksum, left = zlib.crc32(block, checksum), left - len(block)
        if checksum != int.from_bytes(file.read(4), "big"):
            raise _damaged(encoded, f"the checksum of its {kind.decode()} chunk is wrong")
        place += 12 + length


# In the pixels of a JPEG 0xFF is followed by 0 (it stands for itself), by a restart marker, or by 0xFF (filling).
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def _check_jpeg(encoded: Encoded) -> Findings:
    if encoded.size > MAX_JPEG:
        return Findings()
    encoded.file.seek(0)
    content = encoded.file.read()
    place, scans, segments = 2, 0, 0
    while True:
        segments += 1
        if segments > MAX_SEGMENTS:
            raise ImageError(f"{encoded.name} has too many segments: export it again.")
        while content[place : place + 2] == b"\xff\xff":  # filling
            place += 1
        if place + 2 > len(content):
            raise _damaged(encoded, "it has no end")
        if content[place] != 0xFF:
            raise _damaged(encoded, "its segments are out of order")
        marker = content[place + 1]
        if marker == _END_OF_IMAGE:
            break
        if marker in _WITHOUT_LENGTH or marker == 0:
            raise _damaged(encoded, "its segments are out of order")
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        place += 2 + length
        if length < 2 or place > len(content):
            raise _damaged(encoded, "a segment ends too early")
        if marker == _START_OF_SCAN:
            scans += 1
            end = _MARKER.search(content, place)
            if end is None:
                raise _damaged(encoded, "it has no end")
            if not _restarts_in_order(content, place, end.start()):
                raise _damaged(encoded, "part of its pixels is missing")
            place = end.start()
    if not scans:
        raise _damaged(encoded, "it has no pixels")
    return Findings(passes=scans)


def _restarts_in_order(content: bytes, start: int, end: int) -> bool:
    """Restart markers are numbered 0 to 7, again and again."""
    if content.find(b"\xff\xd0", start, end) < 0:
        return content.find(b"\xff\xd1", start, end) < 0
    data = np.frombuffer(content, np.uint8)[start:end]
    places = np.flatnonzero(data[:-1] == 0xFF)
    numbers = data[places + 1]
    numbers = numbers[(numbers >= 0xD0) & (numbers <= 0xD7)] & 7
    return bool((numbers == np.arange(numbers.size) % 8).all())


def _check_webp(encoded: Encoded) -> None:
    file = encoded.file
    file.seek(4)
    end = 8 + int.from_bytes(file.read(4), "little")
    if end > encoded.size:
        raise _damaged(encoded, "it ends too early")
    place = 12
    for _ in range(MAX_CHUNKS):
        if place >= end:
            return
        file.seek(place + 4)
        length = int.from_bytes(file.read(4), "little")
        place += 8 + length + length % 2  # chunks begin at even places
        if place > end + 1:  # some writers leave the last filling byte out
            raise _damaged(encoded, "a chunk ends too early")
    raise ImageError(f"{encoded.name} has too many chunks: export it again.")
