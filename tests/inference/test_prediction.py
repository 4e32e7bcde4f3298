"""Predictions are free of thresholds; a threshold makes a verdict of them."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from altub.inference.prediction import KINDS, Prediction
from altub.inference.threshold import HeldOut, Threshold


def make(height: int = 40, width: int = 30, score: float = 0.5) -> Prediction:
    values = np.random.default_rng(0).normal(size=(height, width)).astype(np.float32)
    return Prediction(values, values[None], score, 0.25)


def test_a_prediction_knows_no_threshold() -> None:
    names = ["model_map", "scale_maps", "score", "p_value", "size", "reasons", "anomaly_score", "regions"]
    assert [field.name for field in fields(Prediction)] == names


@pytest.mark.parametrize("pixel_value", [-9.0, -0.3, 0.0, 0.1, 1.7, 9.0])
def test_a_verdict_has_the_mask_and_the_area_of_its_threshold(pixel_value: float) -> None:
    prediction, threshold = make(), Threshold.fixed(0.5, pixel_value)
    verdict = prediction.at(threshold)
    assert verdict.is_anomalous is False and verdict.threshold is threshold
    assert verdict.pixel_value == pixel_value and vars(prediction.verdict(threshold)).items() <= vars(verdict).items()
    assert verdict.mask.dtype == bool and np.array_equal(verdict.mask, prediction.anomaly_map > pixel_value)
    assert verdict.marked_area == verdict.mask.mean() and isinstance(verdict.marked_area, float)


def test_equal_is_not_above() -> None:
    prediction = make(score=0.5)
    assert not prediction.at(Threshold.fixed(0.5, 0)).is_anomalous
    assert prediction.at(Threshold.fixed(np.nextafter(0.5, 0), 0)).is_anomalous
    value = float(prediction.anomaly_map[3, 4])
    assert not prediction.at(Threshold.fixed(0, value)).mask[3, 4]


def test_pixels_are_compared_in_the_precision_of_the_map() -> None:
    """0.1 is no float32: a pixel of the nearest float32 is not above it, as everywhere that counts pixels."""
    values = np.full((2, 2), 0.1, np.float32)
    assert float(values[0, 0]) > 0.1
    assert not Prediction(values, values[None], 0.0, 1.0).at(Threshold.fixed(0, 0.1)).mask.any()


def test_one_prediction_has_many_verdicts() -> None:
    prediction = make(score=0.5)
    areas = [prediction.at(Threshold.fixed(0.5, value)).marked_area for value in np.linspace(-2, 2, 9)]
    assert areas == sorted(areas, reverse=True) and len(set(areas)) == 9


@pytest.mark.parametrize(("width", "height"), [(64, 64), (131, 75), (3, 5), (1, 1)])
def test_maps_become_a_prediction_at_the_size_of_the_image(width: int, height: int) -> None:
    scales = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    prediction = Prediction.from_maps(scales.mean(0), scales, (width, height), 0.5, 0.25)
    assert prediction.anomaly_map.shape == (height, width) and prediction.anomaly_map.dtype == np.float32
    as_pytorch = F.interpolate(scales.mean(0)[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
    assert np.allclose(prediction.anomaly_map, as_pytorch.numpy(), atol=1e-5)
    assert np.array_equal(np.concatenate(list(prediction.strips())), prediction.anomaly_map)
    assert np.array_equal(prediction.scale_maps, scales.numpy())
    assert (prediction.score, prediction.p_value) == (0.5, 0.25)
    if (width, height) == (64, 64):
        assert np.array_equal(prediction.anomaly_map, scales.mean(0).numpy())


@pytest.mark.parametrize("size", [None, (30, 40), (131, 75), (3, 5), (1, 1)])
@pytest.mark.parametrize("kind", ["noise", "spike", "flat", "saturated"])
def test_a_defect_always_shows_where(kind: str, size: tuple[int, int] | None) -> None:
    """Also where no pixel is above the pixel threshold, and where the image is too small for the map's peak."""
    values = np.random.default_rng(1).normal(size=(40, 30)).astype(np.float32)
    if kind == "spike":
        values[17, 23] = 30
    elif kind == "flat":
        values[:] = 0.25
    elif kind == "saturated":
        values[values > 0] = 0
    prediction = Prediction(values, values[None], 0.5, 0.25, size)
    highest = float(prediction.anomaly_map.max())
    for pixel_value in (highest, highest + 1, 1e6):
        verdict = prediction.at(Threshold.fixed(0.4, pixel_value))
        assert verdict.is_anomalous and verdict.pixel_value < highest <= pixel_value
        assert np.array_equal(verdict.mask, prediction.anomaly_map > verdict.pixel_value)
        assert verdict.mask.flat[np.argmax(prediction.anomaly_map)] and 0 < verdict.marked_area == verdict.mask.mean()
        assert prediction.verdict(verdict.threshold).marked_area == verdict.marked_area
        if kind == "noise" and size is None:
            assert verdict.marked_area == 0.01, "the pixels that the score is the mean of, by default"
    assert prediction.at(Threshold.fixed(0.5, 1e6)).marked_area == 0, "a good image needs no mark"


def test_a_verdict_has_one_of_four_kinds() -> None:
    threshold = Threshold(0.5, 0.0, HeldOut(19, 0.05, 0.05), (0.4, 0.7))
    kinds = [make(score=score).at(threshold).kind for score in (0.4, 0.41, 0.5, 0.51, 0.7, 0.71)]
    assert kinds == ["good", *["borderline"] * 4, "defect"]
    assert [make(score=score).at(Threshold.fixed(0.5, 0)).kind for score in (0.5, 0.51)] == ["good", "defect"]
    odd = replace(make(score=0.51), reasons=("It is grey.",)).at(threshold)
    assert (odd.kind, odd.reasons, odd.is_anomalous) == ("not comparable", ("It is grey.",), True)
    assert set(KINDS) == {*kinds, odd.kind}
