"""Curves and confusion matrices beside those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from altub.errors import LabelError
from altub.labels.curves import confusion, label_curves
from altub.labels.sample import LabelSample
from tests.labels.coverage import evidence


def sample(scores: list[float], defective: list[int], weights: list[float] | None = None) -> LabelSample:
    values, codes = np.array(scores, float), np.array(defective)
    chosen = np.ones(len(values)) if weights is None else np.array(weights, float)
    names = tuple(f"{number:064x}" for number in range(len(values)))
    return LabelSample(names, values, codes == 1, chosen, evidence(values, codes, complete=True), len(values), 0)


def test_curves_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    defective = rng.integers(0, 2, 80)
    scores = np.round(rng.normal(defective, 1), 1)  # with ties
    weights = rng.uniform(0.2, 5, 80)
    curves = label_curves(sample(scores, defective, weights))
    assert curves.auroc == pytest.approx(roc_auc_score(defective, scores, sample_weight=weights))
    expected = average_precision_score(defective, scores, sample_weight=weights)
    assert curves.average_precision == pytest.approx(expected)
    fpr, tpr, _ = roc_curve(defective, scores, sample_weight=weights, drop_intermediate=False)
    assert np.allclose(curves.false_alarm_rate.value, fpr) and np.allclose(curves.recall.value, tpr)
    for threshold, rate in zip(curves.thresholds, curves.recall.value, strict=True):
        assert confusion(sample(scores, defective, weights), threshold).recall == pytest.approx(rate)


def test_bands_contain_the_curve_and_shrink_with_labels() -> None:
    few, many = (label_curves(sample([0, 1, 2, 3] * n, [0, 1, 0, 1] * n)) for n in (5, 50))
    for curves in (few, many):
        for band in (curves.recall, curves.false_alarm_rate, curves.precision):
            assert (band.low <= band.value).all() and (band.value <= band.high).all()
            assert band.low.min() >= 0 and band.high.max() <= 1
    assert (many.recall.high - many.recall.low).max() < (few.recall.high - few.recall.low).max() / 2


def test_the_confusion_matrix_names_its_images() -> None:
    found = confusion(sample([5, 1, 0, 4, 2], [1, 1, 0, 0, 0]), 1.5)
    assert [[int(name, 16) for name in names] for names in (found.found, found.missed)] == [[0], [1]]
    assert [[int(name, 16) for name in names] for names in (found.false_alarms, found.passed)] == [[3, 4], [2]]
    assert (found.recall, found.false_alarm_rate) == (0.5, pytest.approx(2 / 3))
    assert confusion(sample([1], [1]), 0).false_alarm_rate is None
    with pytest.raises(LabelError, match="both kinds"):
        label_curves(sample([1], [1]))
