"""What a file can say about its own damage is checked before its pixels are believed."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from altub.data import read_image
from altub.errors import ImageError
from tests.data.images.encoding import encoded, photo, tiff_of

DAMAGED = "damaged or cut off"


def with_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a camera's note")
    return encoded(photo(), pnginfo=info)


def flipped(content: bytes, place: int, bit: int = 0) -> bytes:
    damaged = bytearray(content)
    damaged[place] ^= 1 << bit
    return bytes(damaged)


def test_every_bit_of_a_png_counts() -> None:
    whole, chance = with_text(), random.Random(0)
    assert read_image(whole).size == photo().size
    places = [chance.randrange(8, len(whole)) for _ in range(150)]
    places += [whole.index(b"camera"), len(whole) - 3, whole.index(b"IDAT") + 20]
    for place in places:
        with pytest.raises(ImageError):
            read_image(flipped(whole, place, chance.randrange(8)))


def test_checksums_of_a_png_are_named() -> None:
    whole = with_text()
    with pytest.raises(ImageError, match=r"checksum of its tEXt chunk is wrong.*copy or export it again"):
        read_image(flipped(whole, whole.index(b"camera")))
    with pytest.raises(ImageError, match="checksum of its IDAT chunk"):
        read_image(flipped(whole, whole.index(b"IDAT") + 30))


def test_a_png_without_its_end_is_cut_off() -> None:
    whole = encoded(photo())
    with pytest.raises(ImageError, match=DAMAGED):
        read_image(whole[: whole.rindex(b"IEND") - 4])
    assert read_image(whole + b"something behind it").size == photo().size


def test_every_bit_of_a_tiff_compressed_by_zlib_counts() -> None:
    whole, chance = encoded(photo(), "TIFF", compression="tiff_adobe_deflate"), random.Random(0)
    reference = np.asarray(read_image(whole))
    silent = 0
    for _ in range(100):
        try:
            found = np.asarray(read_image(flipped(whole, chance.randrange(len(whole)), chance.randrange(8))))
        except ImageError:
            continue
        silent += not np.array_equal(found, reference)
    assert silent == 0


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}])
def test_a_tiff_that_is_cut_off(options: dict) -> None:
    whole = encoded(photo(), "TIFF", **options)
    assert read_image(whole).size == photo().size
    for length in (len(whole) - 1, len(whole) // 2, 9):
        with pytest.raises(ImageError):
            read_image(whole[:length])


def test_a_strip_that_is_too_short() -> None:
    whole = bytearray(tiff_of(height=8))
    place = whole.index(struct.pack("<HHI", 279, 4, 1)) + 8
    whole[place : place + 4] = struct.pack("<I", 7)
    with pytest.raises(ImageError, match="a strip is too short"):
        read_image(bytes(whole))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_needs_its_end(progressive: bool) -> None:
    whole = encoded(photo(), "JPEG", progressive=progressive)
    assert read_image(whole + b"\0\0a camera's own bytes").size == photo().size
    with pytest.raises(ImageError, match="it has no end"):
        read_image(whole[:-2])


def test_a_jpeg_whose_part_is_missing() -> None:
    whole = encoded(photo(160, 160), "JPEG", restart_marker_rows=1)
    first, third = whole.index(b"\xff\xd0"), whole.index(b"\xff\xd2")
    assert read_image(whole).size == (160, 160)
    with pytest.raises(ImageError, match="part of its pixels is missing"):
        read_image(whole[:first] + whole[third:])


def test_a_webp_that_is_cut_off() -> None:
    whole = encoded(photo(), "WEBP", lossless=True)
    assert read_image(whole).size == photo().size
    with pytest.raises(ImageError, match=DAMAGED):
        read_image(whole[:-5])
    with pytest.raises(ImageError, match=DAMAGED):
        read_image(flipped(whole, 17, 4))  # the length of its only chunk


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PPM", "JPEG2000", "TGA"])
def test_whole_files_pass(kind: str) -> None:
    options = {"save_all": True, "append_images": [photo()]} if kind == "MPO" else {}
    assert read_image(encoded(photo(), kind, **options)).size == photo().size


@pytest.mark.parametrize("options", [{"compression": "packbits"}, {"compression": "jpeg"}, {"big_tiff": True}])
def test_other_tiffs_pass(options: dict) -> None:
    assert read_image(encoded(photo(), "TIFF", **options)).size == photo().size


def test_a_file_of_many_chunks_is_refused_at_once() -> None:
    whole = encoded(photo())
    chunk = struct.pack(">I", 0) + b"tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))
    with pytest.raises(ImageError, match="too many chunks"):
        read_image(whole[:33] + chunk * 20_000 + whole[33:])
    jpeg = encoded(photo(), "JPEG")
    with pytest.raises(ImageError, match="too many segments"):
        read_image(jpeg[:2] + b"\xff\xfe\0\2" * 30_000 + jpeg[2:])


def test_many_pages_take_no_time() -> None:
    """Counting them walks through all of them: 400,000 took minutes."""
    assert read_image(tiff_of(20_000)).size == (1, 1)


def test_many_strips_are_refused_at_once() -> None:
    assert read_image(tiff_of(height=1000, strips=500)).size == (1, 1000)
    with pytest.raises(ImageError, match="too many pieces"):
        read_image(tiff_of(height=200_000, strips=200_000))


@pytest.mark.parametrize("kind", ["DDS", "PCX", "SGI", "ICO", "ICNS", "IM"])
def test_other_formats_are_not_read(kind: str) -> None:
    with pytest.raises(ImageError, match="not an image that can be read: use PNG"):
        read_image(encoded(photo(64, 64), kind))


def test_frames_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(self: Image.Image) -> int:
        raise AssertionError("the frames were counted")

    for plugin in ("GifImagePlugin.GifImageFile", "TiffImagePlugin.TiffImageFile"):
        monkeypatch.setattr(f"PIL.{plugin}.n_frames", property(counted))
    for kind in ("GIF", "TIFF"):
        assert read_image(io.BytesIO(encoded(photo(), kind, save_all=True, append_images=[photo()])))
