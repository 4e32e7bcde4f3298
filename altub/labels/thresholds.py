"""Thresholds from labels: with a guarantee, or of the least expected cost.

*With a guarantee.* A recall of at least r, or a false-alarm rate of at most a, with confidence 1 - d, for images of the
same kind as those in the store. Each candidate threshold is tested ("its loss rate is at least so much",
`altub.labels.bounds`), from the safest one on, until a test fails; this is the fixed-sequence testing of Learn then
Test (Angelopoulos, Bates, Candès, Jordan, Lei, https://arxiv.org/abs/2110.01052). Both rates only rise or only fall
with the threshold. The promise is broken only if a threshold beyond the best admissible one passed, and the one just
beyond it then passed too: a single test, of level d. Therefore every score may be a candidate and d need not be
divided, and as the p-values are monotone as well, the last that passes is found by bisection.

*What it rests on.* On `Evidence`: images that were drawn at random. An image that the queue chose for its score counts
as soon as a draw meets it, and is left out before. The weights of `altub.labels.weights` make the labels of a queue
unbiased for the images of the store, but a promise is about images that are still to come, and those weights say
nothing of how far the store is from them. Drawn images without a label count against the threshold. Where all images of
a scope are labelled and stand for equally many, the test is the exact binomial one, else betting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from altub.errors import ConfigError, LabelError
from altub.inference.threshold import Labels, Threshold
from altub.labels.bounds import betting_p_value, binomial_p_value, needed_images
from altub.labels.sample import Evidence, LabelSample

__all__ = ["DEFAULT_CONFIDENCE", "NoPromiseError", "Target", "cheapest_threshold", "promised_threshold"]

Target = Literal["recall", "false-alarm-rate"]
DEFAULT_CONFIDENCE = 0.9


class NoPromiseError(LabelError):
    """No threshold can be promised to keep what was asked for.

    Attributes:
        labelled: number of random labels of the class that matters.
        needed: number of them that it takes at least.
    """

    def __init__(self, message: str, labelled: int, needed: int) -> None:
        super().__init__(message)
        self.labelled, self.needed = labelled, needed


def promised_threshold(
    evidence: Evidence, target: Target, level: float, *, confidence: float = DEFAULT_CONFIDENCE, pixel_value: float
) -> Threshold:
    """The threshold that promises a recall of at least, or a false-alarm rate of at most, `level`.

    Of all that do: the highest for a recall, and so the fewest false alarms; the lowest for a false-alarm rate.

    Args:
        evidence: of `read_sample`.
        confidence: probability, over the draw of the labelled images, that the promise holds.
        pixel_value: of the threshold; labels of images say nothing of pixels. Usually the model's own.

    Raises:
        NoPromiseError: there are too few labels for any threshold.
        ConfigError: the level or the confidence is not between 0 and 1.
    """
    for name, value in (("level", level), ("confidence", confidence)):
        if not 0 < value < 1:
            raise ConfigError(f"The {name} is {value:g}: it must lie between 0 and 1.")
    if target not in ("recall", "false-alarm-rate"):
        raise ConfigError(f"{target!r} cannot be promised: use 'recall' or 'false-alarm-rate'.")
    risk = 1 - confidence
    known = np.unique(evidence.scores)
    if target == "recall":
        # Between two scores, such that rounding does not matter; from the highest, the least safe, downwards.
        between = (known[:-1] + known[1:]) / 2
        candidates = np.concatenate([np.nextafter(known[:1], -np.inf), between])[::-1]
    else:
        candidates = known
    value = _first(candidates, lambda value: _p_value(evidence, target, level, value) <= risk)
    n_good, n_defective = (int((evidence.labels == code).sum()) for code in (0, 1))
    if value is None:
        raise _no_promise(evidence, target, level, confidence)
    return Threshold(value, pixel_value, Labels(n_good, n_defective, target, level, confidence))


def _p_value(evidence: Evidence, target: Target, level: float, value: float) -> float:
    """Of "this threshold breaks the promise"."""
    above = evidence.scores > value
    if target == "recall":
        code, rate, losses = 1, 1 - level, ~above
    else:
        code, rate, losses = 0, level, above
    counts = evidence.labels == code
    if _is_binomial(evidence):
        return binomial_p_value(int((losses & counts).sum()), int(counts.sum()), rate)
    counts = counts | ((evidence.labels < 0) & losses)  # without a label: the worse of both
    return betting_p_value(losses, rate, evidence.weights, counts)


def _is_binomial(evidence: Evidence) -> bool:
    return evidence.complete and np.unique(evidence.weights).size == 1


def _first(candidates: np.ndarray, passes: Callable[[float], bool]) -> float | None:
    """The first of candidates that passes, if all after it do too and the last is the safest; None: not even that."""
    if candidates.size == 0 or not passes(float(candidates[-1])):
        return None
    low, high = 0, candidates.size - 1
    while low < high:
        middle = (low + high) // 2
        if passes(float(candidates[middle])):
            high = middle
        else:
            low = middle + 1
    return float(candidates[low])


def _no_promise(evidence: Evidence, target: Target, level: float, confidence: float) -> NoPromiseError:
    recall = target == "recall"
    rate = 1 - level if recall else level
    labelled = int((evidence.labels == int(recall)).sum())
    needed = needed_images(rate, 1 - confidence, sequential=not _is_binomial(evidence))
    kind = "defective" if recall else "good"
    goal = f"that at least {level:.3g} of defective" if recall else f"that at most {level:.3g} of good"
    more = (
        f"at least {needed} are needed. Label more images, or ask for less"
        if labelled < needed
        else "some of the images drawn have no label yet, or too few have. Label more images, or ask for less"
    )
    return NoPromiseError(
        f"No threshold can promise {goal} images exceed it with confidence {confidence:.3g}: {labelled} {kind} images "
        f"among those drawn at random are labelled, and {more}.",
        labelled,
        needed,
    )


def cheapest_threshold(
    sample: LabelSample, cost_ratio: float, *, pixel_value: float, defect_share: float | None = None
) -> Threshold:
    """The threshold of the least expected cost on the labels, which promises nothing for other images.

    Args:
        cost_ratio: a missed defect costs as much as so many false alarms.
        pixel_value: see `promised_threshold`.
        defect_share: of defective images in the production; by default the one that the weighted labels show.

    Raises:
        LabelError: there are no good or no defective labels.
        ConfigError: the ratio is not positive, or the share is no share.
    """
    if not (cost_ratio > 0 and np.isfinite(cost_ratio)):
        raise ConfigError(f"The cost ratio is {cost_ratio:g}: it must be above 0.")
    if defect_share is not None and not 0 < defect_share < 1:
        raise ConfigError(f"The share of defective images is {defect_share:g}: it must lie between 0 and 1.")
    defective = sample.is_defective
    if defective.all() or not defective.any():
        raise LabelError("Costs need labels of both kinds: label at least one good and one defective image.")
    weights = sample.weights.copy()
    if defect_share is not None:
        weights[defective] *= defect_share / weights[defective].sum()
        weights[~defective] *= (1 - defect_share) / weights[~defective].sum()
    known = np.unique(sample.scores)
    candidates = np.concatenate([np.nextafter(known[:1], -np.inf), (known[:-1] + known[1:]) / 2, known[-1:]])
    above = sample.scores > candidates[:, None]
    costs = cost_ratio * (~above & defective) @ weights + (above & ~defective) @ weights
    best = float(candidates[int(np.argmin(costs))])  # of equal ones the lowest: it misses fewer
    counts = int((~defective).sum()), int(defective.sum())
    return Threshold(best, pixel_value, Labels(*counts, "cost", float(cost_ratio), 0.0))
