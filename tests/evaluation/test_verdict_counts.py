"""A sentence and names for what the verdicts get wrong."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np

from altub.data import Sample
from altub.evaluation import verdict_counts
from altub.evaluation.verdict_counts import VerdictCounts
from altub.inference.threshold import Threshold

SAMPLES = [
    *(Sample(Path(f"{k}.png")) for k in range(3)),
    *(Sample(Path(f"{k}.png"), "dent", None) for k in range(4)),
]


def test_misses_and_false_alarms_by_name() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.5, 0.2, 0.8, 0.4])
    found = VerdictCounts.of(SAMPLES, scores, Threshold.fixed(0.5, 0.5))  # equal is not above
    assert found.missed == ("dent/1.png", "dent/3.png", "dent/0.png") and found.false_alarms == ("good/1.png",)
    assert found.sentence == "On the test set: 4 defective images: 1 found, 3 missed; 3 good images: 1 false alarm."
    assert VerdictCounts.of([], np.empty(0), Threshold.fixed(0, 0)).sentence == "There are no test images."
    assert doctest.testmod(verdict_counts).failed == 0
