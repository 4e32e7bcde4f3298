"""AUPIMO against its definition, on a grid of rates and over every threshold."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from altub.evaluation import aupimo as module
from altub.evaluation.aupimo import aupimo
from altub.evaluation.metrics import Evaluator


def slow_aupimo(maps: np.ndarray, masks: np.ndarray, lower: float, upper: float) -> float:
    """Word for word: each image's recall over the mean false-positive rate of good images, integrated numerically."""
    good = maps[[not mask.any() for mask in masks]]
    rates = np.exp(np.linspace(math.log(lower), math.log(upper), 20_001))
    thresholds = np.unique(maps)[::-1]
    fpr = np.array([0.0] + [np.mean([(image >= t).mean() for image in good]) for t in thresholds])
    areas = []
    for image, mask in zip(maps, masks, strict=True):
        if mask.any():
            recall = np.array([0.0] + [(image[mask] >= t).mean() for t in thresholds])
            last = np.r_[np.diff(fpr) > 0, True]  # of several thresholds with one rate the lowest, which finds most
            curve = np.interp(rates, fpr[last], recall[last])
            areas.append(np.trapezoid(curve, np.log(rates)) / math.log(upper / lower))
    return float(np.mean(areas))


def case(seed: int, levels: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Four good and three defective maps (12, 15), defects of different sizes; `levels` rounds to force ties."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((7, 12, 15), bool)
    masks[1, 2:9, 3:10] = masks[4, 5, 5] = masks[5, 1:4, 1:3] = True
    maps = rng.normal(size=masks.shape) + masks * rng.uniform(0.5, 2.5)
    return (np.round(maps * levels) / levels if levels else maps).astype(np.float32), masks


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("levels", "tolerance"), [(None, 0.02), (3, 1e-3)])
@pytest.mark.parametrize(("lower", "upper"), [(2e-3, 0.05), (0.01, 0.3), (0.1, 1.0)])
def test_equals_the_definition(seed: int, levels: int | None, tolerance: float, lower: float, upper: float) -> None:
    """Without ties the definition's steps are drawn as slopes by the slow version: a good pixel wide, hence 0.02."""
    maps, masks = case(seed, levels)
    assert aupimo(maps, masks, lower, upper) == pytest.approx(slow_aupimo(maps, masks, lower, upper), abs=tolerance)


def test_hand_computed() -> None:
    """1000 good pixels: ten of 9, the rest 0. A defect of 9.5 is found at every rate, one of 5 from 10 in 1000 on."""
    maps, masks = np.zeros((3, 25, 40), np.float32), np.zeros((3, 25, 40), bool)
    maps[0].flat[:10] = 9
    masks[1, 0, :4] = masks[2, 0, 0] = True
    maps[1, 0, :4] = (9.5, 9.5, 5, -1)
    maps[2, 0, 0] = 9.5
    half = math.log(0.1 / 0.01) / math.log(0.1 / 0.001)
    assert aupimo(maps, masks, 0.001, 0.1) == pytest.approx((0.5 + half / 4 + 1) / 2)
    # Normal pixels of defective images play no part; good ones do.
    maps[1, 5:] = 100
    assert aupimo(maps, masks, 0.001, 0.1) == pytest.approx((0.5 + half / 4 + 1) / 2)
    maps[0].flat[10:20] = 100
    assert aupimo(maps, masks, 0.001, 0.1) < 0.6


def test_within_the_evaluator_and_left_out_where_there_are_too_few_pixels() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 240, 240)).astype(np.float32)
    masks = np.zeros(maps.shape, bool)
    masks[2, 50:90, 50:90] = True
    maps[masks] += 4
    found = Evaluator([False, False, True], [None, None, masks[2]])(maps, maps.max(axis=(1, 2))).aupimo
    assert found == pytest.approx(aupimo(maps, masks)) and 0.3 < found < 0.7
    unmasked = Evaluator([False, False, True, True], [None, None, masks[2], None])
    assert unmasked(np.concatenate([maps, maps[:1]]), np.arange(4.0)).aupimo == pytest.approx(found)
    assert Evaluator([False, True], [None, masks[2]])(maps[1:], np.arange(2.0)).aupimo is None, "1e-5 is half a pixel"
    assert aupimo(maps[2:], masks[2:]) is None and aupimo(maps[:2], masks[:2]) is None
    perfect = np.where(masks, 9, 0).astype(np.float32)
    assert aupimo(perfect, masks) == pytest.approx(1, abs=1e-12)
    with pytest.raises(ValueError, match="lower < upper"):
        aupimo(maps, masks, 0.1, 0.01)
    assert doctest.testmod(module).failed == 0
