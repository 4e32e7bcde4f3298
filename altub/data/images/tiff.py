"""The first page of a TIFF: does the file hold the pixels that it promises?

Pillow walks through all pages where it is asked for their number, and builds a list with an entry for each strip: a
file of many pages or strips would keep it busy for minutes. Only the first page is looked at here.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from altub.data.images.sources import Encoded
from altub.errors import ImageError

__all__ = ["check_tiff"]

MAX_TAGS = 4096
MAX_PIECES = 100_000  # strips or tiles
MAX_CHECKED = 1 << 30  # bytes of pixels whose checksums are looked at

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOURS, _SAMPLES, _PLANAR = 256, 257, 258, 259, 262, 277, 284
_ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT = 278, 322, 323
_STRIP_OFFSETS, _STRIP_SIZES, _TILE_OFFSETS, _TILE_SIZES = 273, 279, 324, 325
_NOT_COMPRESSED, _ZLIB, _YCBCR = 1, {8, 32946}, 6
# Types of numbers: their size in bytes and how numpy reads them.
_TYPES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}


@dataclass(frozen=True)
class _Page:
    tags: dict[int, np.ndarray]

    def number(self, tag: int, default: int | None = None) -> int:
        values = self.tags.get(tag)
        if values is None or not values.size:
            if default is None:
                raise ValueError(f"tag {tag} is missing")
            return default
        return int(values[0])


def check_tiff(encoded: Encoded) -> None:
    """
    Raises:
        ImageError: the first page is damaged or cut off, or in too many pieces.
    """
    try:
        page = _read_page(encoded)
        _check_pieces(encoded, page)
    except (ValueError, OverflowError) as error:
        raise ImageError(f"{encoded.name} is damaged or cut off ({error}): copy or export it again.") from error


def _read_page(encoded: Encoded) -> _Page:
    file = encoded.file
    file.seek(0)
    head = file.read(16)
    order: Any = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    word = 8 if big else 4  # bytes of an offset

    def number(content: bytes) -> int:
        return int.from_bytes(content, "little" if order == "<" else "big")

    start = number(head[8:16] if big else head[4:8])
    file.seek(start)
    count_bytes = 8 if big else 2
    count = number(file.read(count_bytes))
    if not 0 < count <= MAX_TAGS:
        raise ValueError("its page has no tags, or far too many")
    entry = 12 + 2 * (word - 4)  # tag, type, count, value: 2 + 2 + word + word
    entries = file.read(count * entry)
    if len(entries) < count * entry:
        raise ValueError("it ends too early")
    tags: dict[int, np.ndarray] = {}
    for k in range(count):
        tag, kind = number(entries[k * entry :][:2]), number(entries[k * entry + 2 :][:2])
        how_many = number(entries[k * entry + 4 :][:word])
        value = entries[k * entry + 4 + word :][:word]
        if kind not in _TYPES or tag not in _NEEDED:
            continue
        if how_many > MAX_PIECES:
            raise ValueError("its pixels are in too many pieces")
        dtype = np.dtype(order + _TYPES[kind])
        if how_many * dtype.itemsize > word:
            file.seek(number(value))
            value = file.read(how_many * dtype.itemsize)
        if len(value) < how_many * dtype.itemsize:
            raise ValueError("it ends too early")
        tags[tag] = np.frombuffer(value, dtype, how_many).astype(np.uint64)
    return _Page(tags)


_NEEDED = {
    _WIDTH,
    _HEIGHT,
    _BITS,
    _COMPRESSION,
    _COLOURS,
    _SAMPLES,
    _PLANAR,
    _ROWS_PER_STRIP,
    _TILE_WIDTH,
    _TILE_HEIGHT,
    _STRIP_OFFSETS,
    _STRIP_SIZES,
    _TILE_OFFSETS,
    _TILE_SIZES,
}


def _check_pieces(encoded: Encoded, page: _Page) -> None:
    tiled = _TILE_OFFSETS in page.tags
    offsets = page.tags.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
    sizes = page.tags.get(_TILE_SIZES if tiled else _STRIP_SIZES)
    if offsets is None:
        raise ValueError("it has no pixels")
    if sizes is None:  # allowed where nothing is compressed; Pillow refuses what is cut off
        return
    if len(offsets) != len(sizes):
        raise ValueError("its strips are incomplete")
    present = sizes > 0  # a tile of nothing is allowed
    if (offsets[present] > encoded.size).any() or (sizes[present] > encoded.size - offsets[present]).any():
        raise ValueError("it ends too early")
    width, height = page.number(_WIDTH), page.number(_HEIGHT)
    samples, planes = page.number(_SAMPLES, 1), page.number(_PLANAR, 1)
    bits = page.number(_BITS, 1)
    if tiled:
        wide, high = page.number(_TILE_WIDTH), page.number(_TILE_HEIGHT)
    else:
        wide, high = width, min(page.number(_ROWS_PER_STRIP, height), height)
    if wide < 1 or high < 1:
        raise ValueError("it has no pixels")
    pieces = -(-width // wide) * -(-height // high) * (samples if planes == 2 else 1)
    if len(offsets) < pieces:
        raise ValueError("its strips are incomplete")
    row = -(-wide * bits * (1 if planes == 2 else samples) // 8)
    compression = page.number(_COMPRESSION, 1)
    if compression == _NOT_COMPRESSED and not tiled and page.number(_COLOURS, 0) != _YCBCR:  # which may be subsampled
        rows = np.full(pieces, high)
        per_plane = -(-height // high)
        rows[per_plane - 1 :: per_plane] = height - (per_plane - 1) * high
        if (sizes[:pieces] < rows * row).any():
            raise ValueError("a strip is too short")
    elif compression in _ZLIB and pieces * high * row <= MAX_CHECKED:
        _check_zlib(encoded, offsets[:pieces], sizes[:pieces], high * row)


def _check_zlib(encoded: Encoded, offsets: np.ndarray, sizes: np.ndarray, expected: int) -> None:
    for offset, size in zip(offsets.tolist(), sizes.tolist(), strict=True):
        encoded.file.seek(offset)
        packed = encoded.file.read(size)
        if not packed:
            continue
        stream, got = zlib.decompressobj(), 0
        try:
            while not stream.eof and got <= 2 * expected:
                block = stream.decompress(packed, 1 << 20)
                got, packed = got + len(block), stream.unconsumed_tail
                if not block and not packed:
                    break
        except zlib.error:
            raise ValueError("the checksum of a strip is wrong") from None
        if not stream.eof:
            raise ValueError("a strip has no end")
