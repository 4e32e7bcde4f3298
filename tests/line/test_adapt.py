"""A model that follows the line: what is won back, what is refused, what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub import AnomalyDetector, Run
from altub.errors import ConfigError, DataError
from altub.line.adapt import UnlikeGoodPartsError, adapt
from altub.training.adaptation import usable_ways
from tests.line.parts import STRONG, parts


@pytest.fixture(scope="module")
def detector(line_run: Run) -> AnomalyDetector:
    return AnomalyDetector.load(line_run.model_dir, "cpu")


def rejected(detector: AnomalyDetector, images: list[Image.Image]) -> float:
    """Share of images above the model's own threshold."""
    value = detector.threshold.value
    return float(np.mean([one.score > value for one in detector.predict_many(images)]))


def test_false_alarms_of_a_strong_shift_are_won_back(detector: AnomalyDetector, tmp_path: Path) -> None:
    new, bad = parts(40, 5, shift=STRONG), parts(12, 6, shift=STRONG, blot=True)
    assert rejected(detector, new) > 0.9
    done = adapt(detector, parts(24, 4, shift=STRONG))
    report = done.report
    assert report.way == usable_ways(detector.pyramid)[0] and report.images == 24 and not report.notes
    assert report.rejected_before > 20 and report.p_values_before.max() < 0.5
    assert rejected(done.detector, new) <= 0.15 and rejected(done.detector, bad) == 1
    assert done.detector.threshold.origin.n == 24
    folder = done.detector.save(tmp_path / "model")
    again = AnomalyDetector.load(folder, "cpu")
    assert again.predict(new[0]).score == done.detector.predict(new[0]).score
    assert again.info.to_json()["adaptations"][0]["way"] == report.way
    assert any("24 good images above the threshold" in line for line in report.sentences())


@pytest.mark.parametrize("way", ["base", "norm-position", "norm-channel+base"])
def test_every_way_brings_false_alarms_down(detector: AnomalyDetector, way: str) -> None:
    told = {name: value.clone() for name, value in detector.pyramid.state_dict().items()}
    done = adapt(detector, parts(16, 4, shift=STRONG), way=way, refuse=False)
    assert rejected(done.detector, parts(40, 5, shift=STRONG)) <= 0.25
    moved = any(move.mean > 0 for move in done.report.base)
    assert moved == ("base" in way)
    for name, value in detector.pyramid.state_dict().items():
        assert (value == told[name]).all(), f"{name} of the model that was given changed"


def test_calibration_images_are_scored_by_models_that_had_not_seen_them(detector: AnomalyDetector) -> None:
    """Scored by the model that has seen them, few images look better than new ones do."""
    today = parts(8, 4, shift=STRONG)
    done = adapt(detector, today)
    seen = np.array([one.score for one in done.detector.predict_many(today)])
    assert np.mean(done.report.scores_after - seen) > 0
    assert np.array_equal(np.sort(done.report.scores_after), done.detector.calibration.scores)


def test_few_images_and_images_of_other_things_are_refused(detector: AnomalyDetector) -> None:
    with pytest.raises(DataError, match="7 images are too few"):
        adapt(detector, parts(7, 4))
    with pytest.raises(UnlikeGoodPartsError, match=r"3 of 24 images are far more anomalous.*today|good-"):
        adapt(detector, [*parts(21, 4), *parts(3, 6, blot=True)])
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = 200
    other = [Image.fromarray(half + np.uint8(shade)) for shade in range(9)]
    with pytest.raises(UnlikeGoodPartsError, match="differ from the training images"):
        adapt(detector, other)
    assert adapt(detector, other, refuse=False).report.notes


def test_a_norm_without_moments_leaves_the_base(trained_run: Run) -> None:
    detector = AnomalyDetector.load(trained_run.model_dir, "cpu")
    assert usable_ways(detector.pyramid) == ("base",)
    with pytest.raises(ConfigError, match="has no way norm-full"):
        adapt(detector, parts(8, 1), way="norm-full")
    assert adapt(detector, parts(8, 1), refuse=False).report.way == "base"
