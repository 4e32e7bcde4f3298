"""The watch over a line: what sets it off, what does not, and what it names."""

from __future__ import annotations

import numpy as np
import pytest

from altub import AnomalyDetector, Run
from altub.errors import ConfigError
from altub.line.drift import STREAMS, DriftWatch
from altub.line.statistics import measure
from tests.line.parts import parts


def line(count: int, seed: int, **shift: float) -> list[tuple[dict[str, float], bool]]:
    """Images of a line whose streams are noise around 0, or around what is given."""
    rng = np.random.default_rng(seed)
    return [({name: rng.normal() + shift.get(name, 0.0) for name in STREAMS}, True) for _ in range(count)]


def test_an_unchanged_line_gives_no_alarm_and_a_changed_one_names_what_moved() -> None:
    watch = DriftWatch()
    assert watch.replay(line(1500, 0)) is None and watch.evidence < 1
    alarm = watch.replay(line(60, 1, sharpness=-3.0))
    assert alarm.stream == "sharpness" and 1500 < alarm.image <= 1550 and alarm.now < alarm.before
    assert "the sharpness fell from" in alarm.sentence() and watch.evidence == 1
    again = DriftWatch()
    again.replay([*line(1500, 0), *line(60, 1, sharpness=-3.0)])
    assert again.alarm == alarm, "the same numbers give the same alarm"
    watch.replay(line(500, 2))
    assert watch.alarm == alarm, "an alarm stays until the model changes"


def test_an_alarm_names_what_moved_furthest_and_the_picture_before_the_model() -> None:
    watch = DriftWatch()
    watch.replay(line(300, 0))
    alarm = watch.replay(line(60, 1, background=9.0, red_blue=-2.0, brightness=5.0))
    assert alarm.stream == "brightness" and "the brightness rose from" in alarm.sentence()
    model_only = DriftWatch()
    model_only.replay(line(300, 0))
    assert model_only.replay(line(60, 1, background=3.0)).stream == "background"


def test_a_burst_of_defects_sets_nothing_off() -> None:
    watch = DriftWatch()
    watch.replay(line(400, 0))
    watch.replay([({**values, "score": 50.0}, False) for values, _ in line(100, 1)])
    assert watch.replay(line(400, 2)) is None


def test_numbers_that_are_missing_are_left_out() -> None:
    watch = DriftWatch()
    watch.replay([({"brightness": None, "sharpness": float("nan")}, True)] * 50)
    assert watch.images == 50 and watch.alarm is None
    with pytest.raises(ConfigError, match="between 0 and 1"):
        DriftWatch(level=1)


def test_statistics_see_the_line_and_hardly_the_defect(line_run: Run) -> None:
    detector = AnomalyDetector.load(line_run.model_dir, "cpu")

    def median(**what: object) -> dict[str, float]:
        images = parts(10, 3, **what)
        found = [
            measure(image, one.model_map) for image, one in zip(images, detector.predict_many(images), strict=True)
        ]
        return {name: float(np.median([getattr(one, name) for one in found])) for name in found[0].to_dict()}

    usual = median()
    assert median(shift=("brightness", 1.3))["brightness"] > 1.2 * usual["brightness"]
    assert median(shift=("colour cast", 0.15))["red_blue"] > usual["red_blue"] + 0.2
    assert median(shift=("blur", 4.0))["sharpness"] < usual["sharpness"] - 0.2
    assert median(shift=("noise", 25.0))["background"] > usual["background"] + 0.5
    defective = median(blot=True)
    for name in ("red_blue", "green", "sharpness"):
        assert defective[name] == pytest.approx(usual[name], abs=0.1)
