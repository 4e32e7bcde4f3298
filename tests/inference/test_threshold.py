"""Thresholds carry where they come from, also through JSON."""

from __future__ import annotations

import json
import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from altub.errors import ConfigError, ModelError
from altub.inference.calibration import Calibration
from altub.inference.detector import AnomalyDetector
from altub.inference.threshold import DEFAULT_FALSE_ALARM_RATE, Fixed, HeldOut, Labels, Threshold
from tests.conftest import REPOSITORY

LABELS = Labels(n_good=40, n_defective=12, target="recall", level=0.95, confidence=0.9)
THRESHOLDS = [
    Threshold.fixed(0.1, -0.3),
    Threshold(1 / 3, -1e-300, HeldOut(7, 0.05, 0.125)),
    Threshold(1 / 3, 0.0, HeldOut(7, 0.05, 0.125), (-1 / 7, 0.4)),
    Threshold(-0.297, 0.0, LABELS),
    Threshold(-0.297, 0.0, replace(LABELS, target="false-alarm-rate", level=0.01)),
]


def calibration(n: int) -> Calibration:
    return Calibration(np.linspace(-0.5, -0.3, n), colour_low=-0.9, colour_high=0.0)


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: threshold.origin.kind)
def test_round_trip_through_json_is_exact(threshold: Threshold) -> None:
    assert Threshold.from_dict(json.loads(json.dumps(threshold.to_dict()))) == threshold


def test_a_threshold_of_an_earlier_version_has_no_band() -> None:
    values = calibration(7).threshold().to_dict()
    assert Threshold.from_dict(values).band == calibration(7).threshold().band is not None
    del values["band"]
    old = Threshold.from_dict(values)
    assert old.band is None and not old.is_borderline(old.value)


@pytest.mark.parametrize("band", [(0.6, 0.7), (0.1, 0.4), (0.4, float("nan")), (0.4, float("inf"))])
def test_a_band_that_does_not_hold_the_threshold_is_refused(band: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="band"):
        Threshold(0.5, 0.0, HeldOut(7, 0.05, 0.125), band)


def test_kinds_of_origin_are_never_equal() -> None:
    assert len(set(THRESHOLDS)) == len(THRESHOLDS)
    assert Threshold.fixed(1, 2) != Threshold(1, 2, HeldOut(7, 0.5, 0.5)) != Threshold(1, 2, LABELS)
    assert {type(threshold.origin) for threshold in THRESHOLDS} == {Fixed, HeldOut, Labels}


def test_a_threshold_of_a_calibration_says_what_it_can_promise() -> None:
    few, enough = calibration(7).threshold(0.05), calibration(19).threshold(0.05)
    assert few.origin == HeldOut(7, 0.05, 1 / 8) and not few.origin.keeps_request
    assert few.warning == few.origin.warning and "at least 19" in few.warning and "12.5 %" in few.origin.promise
    assert enough.origin.keeps_request and enough.warning is None
    assert "5 %" in enough.origin.promise and "19 held-out good images" in enough.origin.promise


def test_other_origins_say_what_they_promise() -> None:
    assert "no false-alarm rate" in Threshold.fixed(0, 0).origin.promise
    assert (
        "90 % confidence at least 95 % of defective" in LABELS.promise and "40 good and 12 defective" in LABELS.promise
    )
    assert "at most 1 % of good" in replace(LABELS, target="false-alarm-rate", level=0.01).promise
    assert all(threshold.warning is None for threshold in THRESHOLDS if threshold.origin.kind != "held-out")


def test_values_are_plain_floats_and_cannot_be_changed() -> None:
    threshold = Threshold.fixed(np.float32(0.5), 1)
    assert type(threshold.value) is type(threshold.pixel_value) is float
    with pytest.raises(FrozenInstanceError):
        threshold.value = 2.0  # type: ignore[misc]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "high"])
def test_values_that_are_no_finite_numbers_are_refused(value: Any) -> None:
    """Against NaN nothing is anomalous."""
    for values in ((value, 0.0), (0.0, value)):
        with pytest.raises(ConfigError, match="not a finite number"):
            Threshold.fixed(*values)


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("value"),
        lambda values: values.pop("origin"),
        lambda values: values.update(origin=None),
        lambda values: values.update(value="x"),
        lambda values: values.update(pixel_value=float("nan")),
        lambda values: values["origin"].pop("kind"),
        lambda values: values["origin"].pop("n"),
        lambda values: values["origin"].update(kind="guess"),
        lambda values: values["origin"].update(more=1),
        lambda values: values.update(band=[1.0]),
        lambda values: values.update(band="wide"),
        lambda values: values.update(band=[5.0, 4.0]),
    ],
)
def test_damaged_entries_are_refused(damage: Any) -> None:
    values = json.loads(json.dumps(calibration(7).threshold().to_dict()))
    damage(values)
    with pytest.raises(ModelError, match="incomplete or damaged"):
        Threshold.from_dict(values)


def test_the_default_rate_is_the_model_s_own_and_stands_in_one_place(detector: AnomalyDetector) -> None:
    assert detector.threshold == detector.calibration.threshold(DEFAULT_FALSE_ALARM_RATE)
    assert detector.threshold == detector.calibration.threshold()
    rate = re.compile(r"(?i)rate\w*\b[^\n]*(=|index\()\s*\(?0\.05\b")
    sources = [path for path in (REPOSITORY / "altub").rglob("*.py") if rate.search(path.read_text(encoding="utf-8"))]
    assert [path.relative_to(REPOSITORY) for path in sources] == [Path("altub/inference/threshold.py")]
