"""What labels say of a model's scores, as numbers: ROC, precision and recall with bands, and the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from altub.errors import LabelError
from altub.labels.sample import LabelSample

__all__ = ["Band", "Confusion", "Curves", "confusion", "label_curves"]


@dataclass(frozen=True)
class Band:
    """A rate with its confidence band, at every threshold; all (k,)."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Curves:
    """The curves of labelled images, from the highest threshold to the lowest.

    Attributes:
        thresholds: (k,), descending; a score above is called defective. The first one calls nothing defective.
        recall, false_alarm_rate, precision: with bands. Precision is 1 where nothing is called defective.
        auroc: area under recall over false-alarm rate.
        average_precision: area under the steps of precision over recall.
    """

    thresholds: np.ndarray
    recall: Band
    false_alarm_rate: Band
    precision: Band
    auroc: float
    average_precision: float


@dataclass(frozen=True)
class Confusion:
    """Labelled images at a threshold.

    Attributes:
        found, missed: SHA-256 of defective images above it and not above it, the most surprising first.
        false_alarms, passed: of good images, likewise.
        recall, false_alarm_rate: weighted; None where there is no such label.
    """

    found: tuple[str, ...]
    missed: tuple[str, ...]
    false_alarms: tuple[str, ...]
    passed: tuple[str, ...]
    recall: float | None
    false_alarm_rate: float | None


def label_curves(sample: LabelSample, confidence: float = 0.9) -> Curves:
    """Weighted curves with pointwise bands.

    The bands are Wilson's score intervals with the effective number of images, (sum w)^2 / sum w^2, and approximate; a
    guarantee is what `altub.labels.thresholds` gives.

    Raises:
        LabelError: there are no good or no defective labels.
    """
    defective, weights = sample.is_defective, sample.weights
    if defective.all() or not defective.any():
        raise LabelError("Curves need labels of both kinds: label at least one good and one defective image.")
    order = np.argsort(-sample.scores, kind="stable")
    scores, hits = sample.scores[order], np.where(defective, weights, 0.0)[order]
    alarms = np.where(defective, 0.0, weights)[order]
    last = np.append(np.diff(scores) != 0, True)  # of equal scores the last: they exceed a threshold together
    found = np.concatenate([[0.0], np.cumsum(hits)[last]])
    false = np.concatenate([[0.0], np.cumsum(alarms)[last]])
    below = np.append(scores[last][1:], np.nextafter(scores[-1], -np.inf))
    thresholds = np.concatenate([scores[:1], below])
    recall, false_alarm_rate = found / found[-1], false / false[-1]
    called = found + false
    precision = np.divide(found, called, out=np.ones_like(found), where=called > 0)
    shares = called / called[-1]
    return Curves(
        thresholds=thresholds,
        recall=_band(recall, _effective(weights[defective]), confidence),
        false_alarm_rate=_band(false_alarm_rate, _effective(weights[~defective]), confidence),
        precision=_band(precision, np.maximum(shares * _effective(weights), 1.0), confidence),
        auroc=float(np.trapezoid(recall, false_alarm_rate)),
        average_precision=float(np.sum(np.diff(recall) * precision[1:])),
    )


def confusion(sample: LabelSample, threshold: float) -> Confusion:
    """Which labelled images a threshold of the score calls what."""
    above, defective = sample.scores > threshold, sample.is_defective

    def named(chosen: np.ndarray, sign: int) -> tuple[str, ...]:
        places = np.flatnonzero(chosen)
        return tuple(sample.images[place] for place in places[np.argsort(sign * sample.scores[places], kind="stable")])

    def rate(of: np.ndarray) -> float | None:
        return float(sample.weights[of & above].sum() / sample.weights[of].sum()) if of.any() else None

    return Confusion(
        found=named(defective & above, 1),
        missed=named(defective & ~above, 1),
        false_alarms=named(~defective & above, -1),
        passed=named(~defective & ~above, -1),
        recall=rate(defective),
        false_alarm_rate=rate(~defective),
    )


def _effective(weights: np.ndarray) -> float:
    return float(weights.sum() ** 2 / (weights**2).sum())


def _band(value: np.ndarray, n: float | np.ndarray, confidence: float) -> Band:
    """Wilson's score interval of a share of n."""
    from scipy.stats import norm

    z2 = norm.ppf((1 + confidence) / 2) ** 2
    middle = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (value * (1 - value) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return Band(value, np.minimum(np.maximum(middle - half, 0), value), np.maximum(np.minimum(middle + half, 1), value))
