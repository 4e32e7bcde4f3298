from __future__ import annotations

import json

import numpy as np
import pytest

from altub.errors import ConfigError, DataError, ModelError
from altub.inference.calibration import Calibration
from altub.inference.threshold import Threshold


def calibration(scores: object) -> Calibration:
    return Calibration(scores=scores, colour_low=0.0, colour_high=1.0)


def test_p_value_counts_held_out_scores_at_or_above() -> None:
    c = calibration([3.0, 1.0, 2.0, 2.0])
    assert np.array_equal(c.scores, [1, 2, 2, 3])
    assert [c.p_value(s) for s in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5)] == [
        1.0,
        1.0,
        4 / 5,
        4 / 5,
        2 / 5,
        2 / 5,
        1 / 5,
    ]
    assert c.p_value(np.inf) == 1 / 5
    with pytest.raises(ValueError, match="NaN"):
        c.p_value(float("nan"))


@pytest.mark.parametrize(
    ("rate", "value", "guaranteed"),
    [(0.05, 19.0, 0.05), (0.0999, 19.0, 0.05), (0.1, 18.0, 0.1), (0.5, 10.0, 0.5), (1 - 1e-12, 1.0, 0.95)],
)
def test_threshold_is_the_right_order_statistic(rate: float, value: float, guaranteed: float) -> None:
    t = calibration(np.arange(1.0, 20.0)).threshold(rate)
    assert (t.value, t.origin.requested_rate, t.warning) == (value, rate, None)
    assert t.origin.promised_rate == pytest.approx(guaranteed)


def test_the_band_reaches_from_one_neighbour_of_the_threshold_to_the_other() -> None:
    c = calibration([1.0, 2.0, 4.0, 8.0, 16.0])
    bands = {rate: c.threshold(rate).band for rate in (1 / 6, 2 / 6, 4 / 6, 5 / 6)}
    assert bands == {1 / 6: (8.0, 24.0), 2 / 6: (4.0, 16.0), 4 / 6: (1.0, 4.0), 5 / 6: (0.0, 2.0)}
    assert calibration([3.0]).threshold().band is None
    assert calibration([3.0, 3.0]).threshold().band == (3.0, 3.0), "no score is in it"
    largest = float(np.finfo(float).max)
    assert calibration([-largest, largest]).threshold().band == (-largest, largest)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25, 0.5, 0.9])
def test_one_held_out_image_more_or_fewer_leaves_the_threshold_within_its_band(rate: float) -> None:
    """What borderline means: only a verdict on a score in the band can turn."""
    rng = np.random.default_rng(5)
    for n in (2, 7, 19, 20, 40):
        scores = np.sort(rng.normal(size=n))
        t = calibration(scores).threshold(rate)
        low, high = t.band
        more = [*scores, *((scores[1:] + scores[:-1]) / 2), scores[0] - 1, scores[-1] + 1]
        moved = [calibration([*scores, one]).threshold(rate).value for one in more]
        moved += [calibration(np.delete(scores, place)).threshold(rate).value for place in range(n)]
        moved = [value for value in moved if scores[0] <= value <= scores[-1]]  # nothing is known of what lies beyond
        assert low <= min(moved) and max(moved) <= high
        for score in rng.normal(size=50):
            turned = any((score > value) != t.is_exceeded_by(score) for value in moved)
            assert not turned or t.is_borderline(score)


def test_four_held_out_images_warn_honestly() -> None:
    t = calibration([0.4, 0.1, 0.3, 0.2]).threshold(0.05)
    assert t.value == 0.4
    assert t.origin.promised_rate == 1 / 5
    assert "With 4 held-out good images" in t.warning
    assert "20 %" in t.warning
    assert "5 % needs at least 19 held-out images" in t.warning
    enough = calibration(np.arange(19.0)).threshold(0.05)
    assert enough.warning is None and enough.origin.promised_rate == 0.05
    assert calibration(np.arange(18.0)).threshold(0.05).warning is not None
    assert calibration([0.4, 0.1, 0.3, 0.2]).threshold(0.2).warning is None


@pytest.mark.parametrize("n", [1, 4, 19, 21, 99])
@pytest.mark.parametrize("ties", [False, True])
def test_p_value_and_threshold_agree(n: int, ties: bool) -> None:
    rng = np.random.default_rng(n)
    scores = rng.normal(size=n)
    scores = np.round(scores) if ties else scores
    c = calibration(scores)
    tried = np.concatenate([scores, scores + 1e-6, scores - 1e-6, rng.normal(size=20), [-9.0, 9.0]])
    rates = [j / (n + 1) for j in range(1, n + 1)] + list(rng.uniform(1 / (n + 1), 1, 20))
    for rate in rates:
        t = c.threshold(rate)
        assert t.warning is None
        assert t.origin.promised_rate <= rate + 1e-9
        for score in tried:
            assert (score > t.value) == (c.p_value(score) <= rate + 1e-12)


@pytest.mark.parametrize(("n", "rate"), [(4, 0.05), (4, 0.25), (21, 0.05), (21, 0.1), (50, 0.2)])
@pytest.mark.parametrize("ties", [False, True])
def test_false_alarm_rate_keeps_its_promise(n: int, rate: float, ties: bool) -> None:
    """Many times: draw held-out images and one new good image from one skewed distribution, and judge it."""
    draws = 20_000
    rng = np.random.default_rng(7)
    scores = rng.gamma(0.5, size=(draws, n + 1))
    if ties:
        scores = np.round(scores, 1)
    alarms, guaranteed = 0, set()
    for row in scores:
        t = calibration(row[:-1]).threshold(rate)
        alarms += row[-1] > t.value
        guaranteed.add(t.origin.promised_rate)
    (promise,) = guaranteed
    noise = 4 * np.sqrt(promise * (1 - promise) / draws)
    assert alarms / draws <= promise + noise
    if not ties:  # the bound is tight: a looser threshold would pass the line above as well
        assert alarms / draws >= promise - noise


def test_p_values_of_good_images_are_valid() -> None:
    rng = np.random.default_rng(3)
    p = np.array([calibration(row[:-1]).p_value(row[-1]) for row in rng.normal(size=(20_000, 11))])
    for rate in (1 / 11, 0.2, 0.5):
        assert (p <= rate).mean() <= rate + 4 * np.sqrt(rate * (1 - rate) / len(p))
    assert p.mean() == pytest.approx(6 / 11, abs=0.01)  # uniform on 1/11, ..., 11/11


def test_colour_range_has_the_largest_score_in_its_middle() -> None:
    rng = np.random.default_rng(0)
    maps = rng.exponential(size=(6, 8, 8)).astype(np.float32)
    c = Calibration.fit(maps.max((1, 2)), maps)
    assert c.colour_low == float(np.median(maps))
    assert (c.colour_low + c.colour_high) / 2 == pytest.approx(float(maps.max()))
    assert c.threshold(0.01).value == float(maps.max())


@pytest.mark.parametrize("value", [0.0, -3.5, 1e9])
def test_colour_range_of_equal_values_is_not_empty(value: float) -> None:
    c = Calibration.fit(np.full(4, value), np.full((4, 5, 5), value))
    assert c.colour_low == value < c.colour_high


def test_colour_range_of_scores_below_the_maps_falls_back_to_the_maps() -> None:
    c = Calibration.fit([-5.0, -4.0], np.array([0.0, 1.0, 3.0]))
    assert (c.colour_low, c.colour_high) == (1.0, 5.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip_through_json_is_exact(dtype: type) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(9, 7, 7)).astype(dtype)
    c = Calibration.fit(maps.max((1, 2)), maps)
    back = Calibration.from_dict(json.loads(json.dumps(c.to_dict())))
    assert back == c
    assert back.scores.tobytes() == c.scores.tobytes()
    assert back.threshold(0.2) == c.threshold(0.2)
    assert c != Calibration(c.scores, c.colour_low, c.colour_high + 1)
    assert c != Calibration(c.scores + 1, c.colour_low, c.colour_high)


def test_scores_are_copied_and_read_only() -> None:
    scores = np.array([2.0, 1.0])
    c = calibration(scores)
    scores[:] = 9
    assert np.array_equal(c.scores, [1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        c.scores[0] = 5


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_rates_outside_0_and_1_are_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        calibration([1.0]).threshold(rate)


def test_no_held_out_image_is_refused() -> None:
    with pytest.raises(DataError, match="held out"):
        calibration([])
    with pytest.raises(DataError, match="held out"):
        Calibration.fit(np.empty(0), np.empty((0, 4, 4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_scores_and_ranges_are_refused(bad: float) -> None:
    with pytest.raises(ModelError, match="1 of 2 held-out"):
        calibration([1.0, bad])
    with pytest.raises(ModelError, match="1 of 2 held-out"):
        Calibration.fit([1.0, bad], np.ones(3))
    with pytest.raises(ModelError, match="colour range"):
        Calibration.fit([1.0, 2.0], np.array([bad, bad, bad]))
    with pytest.raises(ModelError, match="colour range"):
        Calibration([1.0], 2.0, 2.0)


@pytest.mark.parametrize(
    "values",
    [{}, {"scores": [1.0]}, {"scores": ["x"], "colour_low": 0, "colour_high": 1}, {"scores": None}],
)
def test_damaged_entries_are_refused(values: dict) -> None:
    with pytest.raises(ModelError, match="incomplete or damaged"):
        Calibration.from_dict(values)


def test_images_that_join_make_p_values_finer_and_can_be_told_from_the_held_out_ones() -> None:
    held_out = Calibration(np.arange(19.0), colour_low=-1.0, colour_high=40.0, peaks=np.arange(19.0) + 0.5)
    once = held_out.extended_by(np.array([30.0, 2.5]), np.array([31.0, 3.0]))
    assert once.scores.size == once.peaks.size == 21 and once.held_out == held_out != once
    assert (once.p_value(29.0), once.p_value(31.0)) == (2 / 22, 1 / 22)
    assert once.threshold(1 / 22).pixel_value == 31.0
    assert (once.colour_range, once.score_unit) == (held_out.colour_range, held_out.score_unit)
    # Again with more of them: those from before do not count twice.
    again = once.extended_by(np.array([30.0, 2.5, 4.0]), np.array([31.0, 3.0, 5.0]))
    assert again == held_out.extended_by(np.array([4.0, 2.5, 30.0]), np.array([3.0, 5.0, 31.0]))
    assert again.extended_by(np.empty(0), np.empty(0)) is again.held_out
    restored = Calibration.from_dict(json.loads(json.dumps(again.to_dict())))
    assert restored == again and restored.scores.size == 22 and restored.held_out == held_out
    assert "joined" not in held_out.to_dict(), "a model without labels is written as before"


@pytest.mark.parametrize("joined", [{"scores": [1.0]}, {"scores": [1.0], "peaks": [1.0, 2.0]}, [1.0], "x"])
def test_damaged_joined_images_are_refused(joined: object) -> None:
    values = Calibration(np.arange(3.0), colour_low=0.0, colour_high=1.0).to_dict()
    with pytest.raises(ModelError, match="damaged"):
        Calibration.from_dict({**values, "joined": joined})
    with pytest.raises(ModelError, match="not finite"):
        Calibration.from_dict({**values, "joined": {"scores": [float("nan")], "peaks": [1.0]}})


def test_the_same_rate_by_another_calibration() -> None:
    few, many = (Calibration(np.arange(n, dtype=float), colour_low=0.0, colour_high=1.0) for n in (9, 99))
    assert many.at_rate_of(few.threshold(0.05)) == many.threshold(0.05)
    assert many.at_rate_of(None) is None and many.at_rate_of(Threshold.fixed(1, 1)) is None
