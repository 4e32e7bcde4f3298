"""Marked areas are exact at any threshold, and need the full-size map only where they must."""

from __future__ import annotations

import numpy as np
import pytest

from altub.inference import marked_area
from altub.inference.marked_area import MarkedAreas

KNOWN = (-0.5, 0.1, 0.1, 1.0)


@pytest.fixture
def anomaly_map() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(37, 53)).astype(np.float32)


def refuse() -> np.ndarray:
    raise AssertionError("the map is not needed for this threshold")


def test_every_threshold_counts_the_pixels_above_it(anomaly_map: np.ndarray) -> None:
    areas = MarkedAreas.measure(anomaly_map, KNOWN)
    pixels = np.sort(anomaly_map.ravel())[::200].tolist()  # thresholds that are values of the map
    for value in (*KNOWN, *pixels, *np.linspace(-6, 6, 101).tolist(), 1e30, -1e30):
        assert areas.above(value, lambda: anomaly_map) == np.mean(anomaly_map > value), value


def test_known_thresholds_and_those_beyond_the_ends_need_no_map(anomaly_map: np.ndarray) -> None:
    areas = MarkedAreas.measure(anomaly_map, KNOWN)
    for value in KNOWN:
        assert areas.above(value, refuse) == np.mean(anomaly_map > value)
    highest, lowest = float(anomaly_map.max()), float(anomaly_map.min())
    assert areas.above(highest, refuse) == 0 and areas.above(highest + 1, refuse) == 0
    assert areas.above(lowest - 1, refuse) == 1
    with pytest.raises(AssertionError):
        areas.above(0.2, refuse)


def test_a_threshold_needs_the_map_once_and_memory_is_bounded(
    anomaly_map: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marked_area, "REMEMBERED", 3)
    areas = MarkedAreas.measure(anomaly_map, KNOWN)
    for value in (0.2, 0.3, 0.4):
        areas.above(value, lambda: anomaly_map)
        assert areas.above(value, refuse) == np.mean(anomaly_map > value)
    areas.above(0.6, lambda: anomaly_map)
    with pytest.raises(AssertionError):
        areas.above(0.2, refuse)  # the oldest is forgotten
    assert areas.above(0.4, refuse) == np.mean(anomaly_map > 0.4) and areas.above(0.1, refuse) > 0


def test_a_flat_map_is_marked_as_a_whole_or_not_at_all() -> None:
    areas = MarkedAreas.measure(np.full((4, 4), 0.25, np.float32), KNOWN)
    assert [areas.above(value, refuse) for value in (0.2, 0.25, 0.3)] == [1, 0, 0]
