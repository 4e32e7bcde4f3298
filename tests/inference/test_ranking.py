"""Strong defects are told apart: no two have the same score, and a stronger one has a higher one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from altub.data import Category, load_category
from altub.data.sample import render_example
from altub.inference.detector import AnomalyDetector
from altub.runs.fit import fit_detector

SETTINGS = {
    "backbone": "filter-bank",
    "image_size": 64,
    "epochs": 1,
    "flow": {"steps": 2, "hidden_ratio": 0.25},
    "device": "cpu",
}


def ranked(detector: AnomalyDetector, defective: list) -> list[float]:
    """Anomaly scores, ascending; checked to be above those of good parts and all different."""
    found = sorted(prediction.anomaly_score for prediction in detector.predict_many(defective))
    strong = [score for score in found if score > 1]
    assert len(strong) >= 0.8 * len(found), "the defects are found"
    assert np.diff(found).min() > 0, "strictly ordered"
    assert strong[-1] > 1.5, "and the worst is far beyond good parts"
    return found


def test_defects_of_the_sample_are_strictly_ordered() -> None:
    good = [render_example("fabric", index=index, split="train").image for index in range(12)]
    detector = fit_detector(good, **SETTINGS)
    kinds = ("hole", "stain", "pulled_thread")
    ranked(detector, [render_example("fabric", kind, index).image for kind in kinds for index in range(2)])

    # The worse the same defect is, the higher it scores, far beyond where likelihoods end at 0.
    clean = np.asarray(good[0].convert("RGB"), np.float32)
    worse = []
    for strength in (20, 60, 120, 250):
        image = clean.copy()
        image[80:140, 90:150] += strength * np.where(np.indices((60, 60)).sum(0)[..., None] % 8 < 4, 1, -1)
        worse.append(np.clip(image, 0, 255).astype(np.uint8))
    scores = [prediction.anomaly_score for prediction in detector.predict_many(worse)]
    assert scores == sorted(scores) and len(set(scores)) == 4 and scores[-1] > 1


def test_defects_of_bottle_are_strictly_ordered(shared_folder: Path) -> None:
    bottle = load_category(shared_folder / "data/mvtec256", "bottle")
    good: Category | list = [sample.path for sample in bottle.train[:60]]
    ranked(fit_detector(good, **SETTINGS), [sample.path for sample in bottle.defective])
