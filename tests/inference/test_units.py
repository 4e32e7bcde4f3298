"""Anomaly scores: 0 as a typical good part, 1 as the most unusual one known, without an end."""

from __future__ import annotations

import numpy as np
import pytest

from altub.data import load_category
from altub.inference.calibration import Calibration
from altub.inference.detector import AnomalyDetector
from altub.inference.units import Unit


def calibration(scores: object, peaks: object = None, low: float = -4.0, high: float = 2.0) -> Calibration:
    return Calibration(scores=scores, colour_low=low, colour_high=high, peaks=peaks)


def test_typical_and_most_unusual_good_parts_are_0_and_1() -> None:
    c = calibration([-0.5, -0.4, -0.3, -0.2, 0.0], peaks=[-3, -2.5, -2, -1.5, -1])
    assert [c.anomaly_score(score) for score in (-0.3, 0.0)] == [0, 1]
    assert c.anomaly_score(0.6) == pytest.approx(3), "three times as far"
    assert c.threshold(0.05).value == c.score_unit.raw(1.0) and c.anomaly_score(-0.5) < 0
    values = np.array([[-4.0, -1.0], [2.0, 5.0]], np.float32)
    assert c.pixel_unit.of(values).tolist() == [[0, 1], [2, 3]], "dark end, middle and bright end of the colours"
    assert c.pixel_unit.of(c.threshold(0.05).pixel_value) == 1 and c.pixel_unit.of(values).dtype == np.float32


def test_fitted_colours_are_in_units_of_pixels() -> None:
    maps = np.random.default_rng(0).gamma(2, size=(9, 20, 20))
    c = Calibration.fit(maps.mean((1, 2)), maps, maps.max((1, 2)))
    assert c.pixel_unit.of(float(np.median(maps))) == 0
    assert c.pixel_unit.of(float(maps.max())) == pytest.approx(1) == c.pixel_unit.of(c.threshold().pixel_value)
    assert c.pixel_unit.of(c.colour_high) == pytest.approx(2)


@pytest.mark.parametrize("scores", [[3.0], [3.0] * 5, [3.0, np.nextafter(3.0, 4)], [1e12] * 3, [0.0], [-1e-300, 0.0]])
def test_without_a_spread_the_most_unusual_is_still_1(scores: list[float]) -> None:
    """One held-out image, all alike, or apart by rounding: no number explodes, and more is still more."""
    c = calibration(scores)
    assert c.anomaly_score(max(scores)) == 1
    tried = [c.anomaly_score(max(scores) + step * max(1, max(scores))) for step in (-2, -0.5, 0.001, 1, 7)]
    assert tried == sorted(tried) and len(set(tried)) == 5 and np.isfinite(tried).all() and max(map(abs, tried)) < 1e10


def test_of_and_raw_are_inverse() -> None:
    unit, values = Unit(-0.7, 2.3), np.linspace(-9, 9, 19)
    np.testing.assert_allclose(unit.raw(unit.of(values)), values)
    assert (np.diff(unit.of(values)) > 0).all()


@pytest.mark.parametrize("n", [1, 2, 3, 7, 19, 40, 299, 5000])
def test_rates_are_those_that_n_can_tell_apart(n: int) -> None:
    c = calibration(np.random.default_rng(n).normal(size=n))
    rates = c.rates()
    thresholds = [c.threshold(rate) for rate in rates]
    assert 1 <= len(rates) <= 20 and list(rates) == sorted(rates) and rates[0] == 1 / (n + 1)
    assert rates[-1] <= 0.5 or n == 1
    assert all(rate * (n + 1) == pytest.approx(round(rate * (n + 1))) for rate in rates)
    values = [threshold.value for threshold in thresholds]
    assert values == sorted(values, reverse=True) and len(set(values)) == len(values), "each does something"
    assert all(threshold.warning is None for threshold in thresholds), "each keeps its promise"
    assert [threshold.origin.promised_rate for threshold in thresholds] == list(rates)
    assert c.threshold().value in values, "the model's own is among them"
    if n in (7, 19):
        assert rates == tuple(k / (n + 1) for k in range(1, (n + 1) // 2 + 1)), "all of them"


def test_rates_that_give_one_threshold_are_offered_once() -> None:
    assert calibration([1.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0]).rates() == (1 / 8, 4 / 8)
    assert calibration([2.0] * 19).rates() == (0.05,)
    assert len(calibration([2.0] * 19, peaks=np.arange(19.0)).rates()) == 10, "pixels tell them apart"


def test_predictions_carry_their_anomaly_score(detector: AnomalyDetector, data_folder) -> None:
    defective = [sample.path for sample in load_category(data_folder, "weave").test if sample.is_defective]
    found = list(detector.predict_many(defective))
    assert [one.anomaly_score for one in found] == [detector.calibration.anomaly_score(one.score) for one in found]
    assert min(one.anomaly_score for one in found) > 1
