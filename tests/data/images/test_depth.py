"""Which value is white: the file says it, or the category's training images did; no single bright pixel decides it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from altub.data import PixelRange, read_image
from altub.data.images import measure_pixel_range
from altub.data.images.depth import level
from tests.data.images.encoding import encoded

HOT = 65535


def grey(source: object, pixel_range: PixelRange | None = None) -> np.ndarray:
    return np.asarray(read_image(source, pixel_range=pixel_range))[..., 0].astype(int)


def parts(white: int, count: int = 12, hot: bool = True) -> list[np.ndarray]:
    """Pictures of a camera, up to 0.9 of white, with a few hot pixels in each."""
    rng = np.random.default_rng(0)
    found = [(rng.random((60, 80)) * 0.9 * white).astype(np.uint16) for _ in range(count)]
    if hot:
        for picture in found:
            picture.reshape(-1)[rng.integers(0, picture.size, 3)] = HOT
    return found


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_training_images_give_the_depth_whatever_their_hot_pixels(bits: int) -> None:
    assert measure_pixel_range(parts(2**bits - 1)) == PixelRange(integers=2**bits - 1)


def test_one_hot_pixel_changes_only_itself() -> None:
    pixel_range = measure_pixel_range(parts(4095))
    clean = parts(4095, 1, hot=False)[0]
    spoiled = clean.copy()
    spoiled[3, 4] = 4096
    for source in (lambda array: array, lambda array: encoded(Image.fromarray(array)), Image.fromarray):
        changed = grey(source(clean), pixel_range) != grey(source(spoiled), pixel_range)
        assert changed.sum() == 1 and changed[3, 4]
        assert np.abs(grey(source(clean), pixel_range) - clean * (255 / 4095)).max() <= 0.51


def test_floats_of_zero_to_one_stay_so() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.random((40, 50)).astype(np.float32) * 0.9 for _ in range(9)]
    for picture in pictures:
        picture[1, 1] = 1.0001
    pixel_range = measure_pixel_range(pictures)
    assert pixel_range == PixelRange(floats=1.0)
    assert np.abs(grey(pictures[0], pixel_range) - np.clip(pictures[0], 0, 1) * 255).max() <= 0.51
    assert measure_pixel_range([picture * 255 for picture in pictures]) == PixelRange(floats=255.0)


def test_a_dark_picture_is_dark_and_not_stretched() -> None:
    dark = np.full((20, 20), 200, np.uint16)
    assert grey(dark, PixelRange(integers=4095)).max() == 12
    assert grey(dark).max() == 200, "without a range the largest value decides, as in version 0.1.0"


def test_without_deep_training_images_each_picture_decides_but_not_by_its_hot_pixels() -> None:
    picture = parts(4095, 1)[0]
    told = grey(picture, PixelRange())
    picture[picture == HOT] = 0
    assert np.abs(told - picture * (255 / 4095))[picture > 0].max() <= 0.51


def test_eight_bits_leave_no_question() -> None:
    ramp = np.arange(240, dtype=np.uint8).reshape(12, 20)
    assert measure_pixel_range([ramp] * 9) == PixelRange()
    for source in (ramp, encoded(Image.fromarray(ramp)), encoded(Image.fromarray(ramp), "BMP")):
        assert np.array_equal(grey(source, PixelRange(integers=4095, floats=1.0)), ramp)


def test_a_file_that_says_its_depth_is_believed() -> None:
    values = np.linspace(0, 900, 300).reshape(15, 20).astype(np.uint16)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[281] = 4000  # MaxSampleValue
    told = encoded(Image.fromarray(values), "TIFF", tiffinfo=tags)
    for pixel_range in (None, PixelRange(), PixelRange(integers=1023)):
        assert np.abs(grey(told, pixel_range) - values * (255 / 4095)).max() <= 0.51
    pgm = b"P5 20 15 1000\n" + values.astype(">u2").tobytes()  # white is 1000
    assert np.abs(grey(pgm) - values * (255 / 1000)).max() <= 0.51


def test_the_notes_say_what_was_measured() -> None:
    (note,) = PixelRange(integers=4095).notes
    assert "4,095" in note and "12 bits" in note
    (note,) = PixelRange(floats=1.0).notes
    assert "1 as white" in note
    assert PixelRange().notes == []


@pytest.mark.parametrize("white", [0, -1, float("nan"), float("inf")])
def test_a_range_that_is_none_is_refused(white: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        PixelRange(integers=white)


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    assert measure_pixel_range([tmp_path / "a.png", tmp_path / "gone.png", parts(1023, 1)[0]]).integers == 1023
    assert measure_pixel_range([]) == PixelRange()


def test_a_level_ignores_a_thousandth() -> None:
    values = np.zeros(10_000, np.uint16)
    values[:10] = 50_000
    assert level(values) == 0
    values[:20] = 50_000
    assert level(values) == 50_000
