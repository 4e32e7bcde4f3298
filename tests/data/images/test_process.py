"""What may take long is decoded in a process of its own, to the very same pixels, and within a time limit."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.data import PixelRange, opened_in_chunks, read_image, read_thumbnail
from altub.data.images import pending, process
from altub.errors import ImageError
from tests.data.images.encoding import encoded, photo, png_of, tiff_of


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file goes to the other process."""
    monkeypatch.setattr(pending, "LARGE_PIXELS", 0)


CASES = {
    "rgb.png": lambda: encoded(photo()),
    "grey.png": lambda: encoded(photo().convert("L")),
    "deep.png": lambda: encoded(Image.fromarray(np.arange(2000, dtype=np.uint16).reshape(40, 50))),
    "alpha.png": lambda: encoded(photo().convert("RGBA")),
    "photo.jpg": lambda: encoded(photo(), "JPEG"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_pixels(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, pixel_range = CASES[name](), PixelRange(integers=4095)
    (tmp_path / name).write_bytes(content)
    here = read_image(content, pixel_range=pixel_range)
    monkeypatch.setattr(pending, "LARGE_PIXELS", 0)
    for source in (content, tmp_path / name):
        there = read_image(source, pixel_range=pixel_range)
        assert there.mode == "RGB" and np.array_equal(np.asarray(there), np.asarray(here))
    assert max(read_thumbnail(content, 20).size) == 20


def test_errors_name_the_file(apart: None, tmp_path: Path) -> None:
    whole = bytearray(encoded(photo(), "JPEG2000"))
    del whole[len(whole) // 2 :]
    (tmp_path / "part.jp2").write_bytes(whole)
    with pytest.raises(ImageError, match=r"part\.jp2 is damaged or cut off"):
        read_image(tmp_path / "part.jp2")
    assert read_image(encoded(photo())).size == photo().size, "the process goes on"


def test_a_process_that_ended_is_replaced(apart: None) -> None:
    content = encoded(photo())
    read_image(content)
    for decoder in process._idle:
        decoder.end()
    assert read_image(content).size == photo().size


def test_a_decoder_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Scans of a progressive JPEG are a few bytes each, and every one passes over all pixels."""
    monkeypatch.setenv("ALTUB_DECODE_SECONDS", "1")
    grey = Image.new("L", (5000, 5001))
    content = encoded(grey, "JPEG", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    (tmp_path / "slow.jpg").write_bytes(content[:-2] + scan * 600 + content[-2:])
    began = time.monotonic()
    with pytest.raises(ImageError, match=r"slow\.jpg takes longer than 1 seconds to decode"):
        read_image(tmp_path / "slow.jpg")
    assert time.monotonic() - began < 5


def test_few_scans_of_a_large_picture_are_fine() -> None:
    assert read_image(encoded(Image.new("L", (5001, 5000)), "JPEG")).size == (5001, 5000)


def test_a_large_picture_is_alone_in_its_chunk() -> None:
    small, large = encoded(photo()), png_of(6000, 5000)
    sources = [small, small, large, small, tiff_of(), b"nothing", small]
    chunks = [[image.size if isinstance(image, Image.Image) else str(image) for _, image in chunk]
              for chunk in opened_in_chunks(sources, lambda source: source)]  # fmt: skip
    size = photo().size
    assert chunks[:2] == [[size, size], [(6000, 5000)]]
    assert chunks[2][:2] == [size, (1, 1)] and "not an image" in chunks[2][2] and chunks[2][3] == size
