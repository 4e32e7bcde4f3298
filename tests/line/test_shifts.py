"""Shifts change an image by what they say."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from altub.line.shifts import SHIFTS, shifted


@pytest.fixture
def photo() -> Image.Image:
    y, x = np.mgrid[:192, :256]
    grey = 90 + 50 * np.sin(1.5 * x) * np.cos(y / 2)
    return Image.fromarray(np.stack([grey, grey * 0.9, grey * 0.8], -1).astype(np.uint8))


@pytest.mark.parametrize("kind", SHIFTS)
def test_every_shift_keeps_the_size_and_is_larger_when_strong(kind: str, photo: Image.Image) -> None:
    before = np.asarray(photo, float)
    changes = []
    for size in SHIFTS[kind]:
        image = shifted(photo, kind, size, seed=3)
        assert image.size == photo.size and image.mode == "RGB"
        assert image.tobytes() == shifted(photo, kind, size, seed=3).tobytes()
        changes.append(np.abs(np.asarray(image, float) - before).mean())
    assert 0.2 < changes[0] < changes[1]


def test_a_rotation_moves_the_picture_to_the_right() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[28:36, 28:36] = 255
    turned = np.asarray(shifted(Image.fromarray(picture), "rotation", 8.0), float)[..., 0]
    assert (turned.sum(0) @ np.arange(64)) / turned.sum() == pytest.approx(31.5 + 4, abs=0.6)


def test_a_colour_cast_leaves_green(photo: Image.Image) -> None:
    red, green, blue = np.moveaxis(np.asarray(shifted(photo, "colour cast", 0.15), float), -1, 0)
    before = np.moveaxis(np.asarray(photo, float), -1, 0)
    assert (green == before[1]).all() and red.mean() > before[0].mean() and blue.mean() < before[2].mean()
