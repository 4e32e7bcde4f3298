"""Predictions are free of thresholds; a threshold makes a verdict of them."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from altub.inference.prediction import Prediction
from altub.inference.threshold import Threshold


def make(height: int = 40, width: int = 30, score: float = 0.5) -> Prediction:
    values = np.random.default_rng(0).normal(size=(height, width)).astype(np.float32)
    return Prediction(values, values[None], score, 0.25)


def test_a_prediction_knows_no_threshold() -> None:
    assert [field.name for field in fields(Prediction)] == ["model_map", "scale_maps", "score", "p_value", "size"]


@pytest.mark.parametrize("pixel_value", [-9.0, -0.3, 0.0, 0.1, 1.7, 9.0])
def test_a_verdict_has_the_mask_and_the_area_of_its_threshold(pixel_value: float) -> None:
    prediction, threshold = make(), Threshold.fixed(0.4, pixel_value)
    verdict = prediction.at(threshold)
    assert verdict.is_anomalous is True and verdict.threshold is threshold
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
