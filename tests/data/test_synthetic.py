"""Synthetic defects: known area, known contrast, on the part, and the same for the same seed."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from altub.data.synthetic import (
    DEFECT_KINDS,
    contrast_of,
    defects,
    draw_cut_paste,
    draw_defect,
    draw_scratch,
    find_part,
    part,
)
from altub.data.synthetic.noise import gradient_noise
from altub.errors import DataError


def plate(side: int = 128) -> np.ndarray:
    """A striped, slightly noisy disk on a light background, float32 (side, side, 3)."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    disk = (np.hypot(x, y) < 0.35 * side)[..., None]
    stripes = 0.2 * np.sign(np.sin(40 * x / side))[..., None]
    noise = np.random.default_rng(1).normal(0, 0.01, (side, side, 1))
    return np.clip(np.where(disk, stripes + np.array([0.5, 0.45, 0.4]), 0.9) + noise, 0, 1).astype(np.float32)


@pytest.mark.parametrize("kind", DEFECT_KINDS)
@pytest.mark.parametrize(("area", "contrast"), [(1, 0.3), (37, 0.1), (400, 0.2)])
def test_area_contrast_and_place(kind: str, area: int, contrast: float) -> None:
    image = plate()
    where = find_part(image)
    for seed in range(3):
        before = image.copy()
        drawn = draw_defect(kind, image, np.random.default_rng(seed), area=area, contrast=contrast)
        assert drawn.mask.sum() == area and drawn.mask.dtype == bool and drawn.mask.shape == image.shape[:2]
        assert drawn.image.dtype == np.float32 and drawn.image.min() >= 0 and drawn.image.max() <= 1
        assert np.array_equal(image, before), "the image that was given"
        assert np.array_equal(drawn.image[~drawn.mask], image[~drawn.mask])
        assert contrast_of(image, drawn) == pytest.approx(contrast, rel=0.05)
        assert (drawn.mask & where).sum() >= 0.9 * area
        changed = np.abs(drawn.image - image).max(axis=-1)[drawn.mask]
        assert (changed > 0).mean() > 0.8


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_the_generator_decides(kind: str) -> None:
    def drawn(seed: int) -> np.ndarray:
        return draw_defect(kind, plate(), np.random.default_rng(seed), area=60, contrast=0.2).image

    assert np.array_equal(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3), drawn(4))


def test_a_scratch_is_as_long_as_asked() -> None:
    image = np.full((128, 128, 3), 0.5, np.float32)
    for seed in range(5):
        mask = draw_scratch(image, np.random.default_rng(seed), length=60, width=2, contrast=0.3).mask
        places = np.argwhere(mask)
        furthest = np.linalg.norm(places[:, None] - places[None], axis=-1).max()
        assert mask.sum() == 120
        assert 40 < furthest < 62, "curved, but no knot"


def test_pieces_come_from_the_donor_and_contrast_is_bounded_by_it() -> None:
    image, donor = np.full((40, 40, 3), 0.5, np.float32), np.full((8, 8, 3), 0.75, np.float32)  # smaller: continued
    drawn = draw_cut_paste(image, np.random.default_rng(0), area=100, contrast=0.9, donor=donor)
    assert np.array_equal(drawn.image[drawn.mask], np.full((100, 3), 0.75, np.float32))
    itself = draw_cut_paste(image, np.random.default_rng(0), area=100, contrast=0.9)
    assert contrast_of(image, itself) == 0, "a plain image has no other piece"


def test_colour_changes_hue_and_scratches_brightness() -> None:
    image = np.full((64, 64, 3), 0.5, np.float32)
    change = {
        kind: (drawn.image - image)[drawn.mask]
        for kind in ("colour", "scratch")
        for drawn in [draw_defect(kind, image, np.random.default_rng(5), area=80, contrast=0.2)]
    }
    assert np.abs(change["colour"].mean(axis=1)).max() < 0.02
    assert np.abs(change["scratch"].mean(axis=1)).min() > 0.05


def test_the_part_is_found_at_any_size_and_everything_where_there_is_none() -> None:
    for side in (128, 600):
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        disk = np.hypot(x, y) < 0.35 * side
        found = find_part(plate(side))
        assert (found & disk).sum() / (found | disk).sum() > 0.9
    rng = np.random.default_rng(0)
    assert find_part(np.full((50, 70, 3), 0.5, np.float32)).all()
    assert find_part(rng.random((50, 70, 3), dtype=np.float32)).all()
    shadow = np.where(np.hypot(*np.mgrid[-30:30, -30:30])[..., None] < 20, 0.8, 0.9).astype(np.float32)
    shadow[20:40, 20:40] = 0.2
    shadow = np.repeat(shadow, 3, axis=-1)
    assert find_part(shadow).sum() < 500, "the shadow around a part is none of it"


def test_noise_is_smooth_and_normalised() -> None:
    noise = gradient_noise((80, 50), np.random.default_rng(0), cell=16)
    assert noise.shape == (80, 50) and abs(noise.mean()) < 1e-3 and noise.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(noise, axis=0)).max() < 0.7, "no step at the lattice's lines"


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"area": 0}, "does not fit"),
        ({"area": 9000}, "does not fit"),
        ({"contrast": 0}, "contrast"),
        ({"contrast": 1.5}, "contrast"),
        ({"kind": "dent"}, "choose from scratch"),
    ],
)
def test_wishes_out_of_range(wish: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        draw_defect(
            **{"kind": "spot", "image": plate(), "rng": np.random.default_rng(0), "area": 9, "contrast": 0.2} | wish
        )


@pytest.mark.parametrize("module", [defects, part])
def test_examples_run(module) -> None:
    assert doctest.testmod(module).failed == 0
