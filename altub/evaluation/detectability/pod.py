"""Probability of detection over size, from hits and misses: logistic regression on log size, as in MIL-HDBK-1823A.

    logit POD(a) = b0 + b1 * log a

Found by maximum likelihood, penalised by Jeffreys' prior (Firth's method): with many trials the penalty vanishes, and
where the sizes separate hits from misses the estimate stays finite. Confidence bounds come from the likelihood ratio: a
pair (b0, b1) is plausible where twice the log-likelihood ratio to the best one is below a chi-squared quantile, and
bounds of POD(a) and of a90 are the extremes over the plausible pairs. Trials that share an image are not independent;
the quantile then grows by the ratio of the cluster-robust variance to the naive one.

`coverage` measures how often the bound a90/95 holds; the figures are in docs/detectability.md.

References: MIL-HDBK-1823A, "Nondestructive Evaluation System Reliability Assessment", 2009, appendix G (hit/miss data);
D. Firth, "Bias reduction of maximum likelihood estimates", Biometrika 80(1), 1993; G. Heinze, M. Schemper, "A solution
to the problem of separation in logistic regression", Statistics in Medicine 21, 2002.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import special

__all__ = ["CONFIDENCE", "PodCurve", "fit_pod"]

#: That the one-sided bounds hold: the 95 of a90/95.
CONFIDENCE = 0.95

ITERATIONS, STEP, TOLERANCE = 200, 3.0, 1e-9
RAYS = 120  # directions in which the edge of the plausible pairs is sought: extremes are off by cos(1.5 degrees)
HALVINGS = 12  # of the distance to the edge
FURTHEST = 40  # times that the distance may grow by half before


@dataclass(frozen=True, eq=False)
class PodCurve:
    """The probability of detection of a kind of defect over its size.

    Attributes:
        sizes: float (n,), as tried, ascending.
        hits: bool (n,).
        intercept, slope: of the logit over log size; None where all or none were hits, so that there is no curve.
        plausible: (RAYS, 2), intercepts and slopes on the edge of what is plausible; None as above.
    """

    sizes: np.ndarray
    hits: np.ndarray
    intercept: float | None = None
    slope: float | None = None
    plausible: np.ndarray | None = field(default=None, repr=False)

    @property
    def rises(self) -> bool:
        """Is it sure, at the confidence of the bounds, that larger defects are found more often?"""
        return self.plausible is not None and bool((self.plausible[:, 1] > 0).all())

    def pod(self, size: np.ndarray) -> np.ndarray | None:
        """Probability of detection at these sizes; None where there is no curve."""
        if self.slope is None:
            return None
        return special.expit(self.intercept + self.slope * np.log(size))

    def band(self, size: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Lower and upper bounds of `pod`, each one-sided at `CONFIDENCE`, at every size for itself."""
        if self.plausible is None:
            return None
        logits = self.plausible[:, :1] + self.plausible[:, 1:] * np.log(np.asarray(size))[None]
        return special.expit(logits.min(axis=0)), special.expit(logits.max(axis=0))

    def size_at(self, probability: float) -> float | None:
        """The size that is found with this probability: a50, a90.

        0 where it is below all sizes tried, infinity where it is above: sizes beyond those tried would be a guess. None
        where it is not determined, because it is not sure that larger defects are found more often.
        """
        if self.slope is None:
            return 0.0 if self.hits.all() else math.inf
        return self._tried(self.intercept, self.slope, probability) if self.rises else None

    def bound_at(self, probability: float) -> float | None:
        """The upper bound of `size_at` at `CONFIDENCE`: a90/95. As there; None too where everything was found."""
        if self.slope is None:
            return None if self.hits.all() else math.inf
        if not self.rises:
            return None
        return max(self._tried(*pair, probability) for pair in self.plausible.tolist())

    def _tried(self, intercept: float, slope: float, probability: float) -> float:
        log = (math.log(probability / (1 - probability)) - intercept) / slope
        low, high = math.log(self.sizes[0]), math.log(self.sizes[-1])
        return 0.0 if log < low else math.inf if log > high else math.exp(log)


def fit_pod(sizes: Sequence[float], hits: Sequence[bool], images: Sequence[object] | None = None) -> PodCurve:
    """The curve of these trials.

    Args:
        sizes: above 0, in any unit.
        hits: was it found?
        images: which image each trial was made on; None: every trial on another one.

    Raises:
        ValueError: the numbers of sizes and hits differ, there are none, a size is not above 0, or all are the same.

    Example:
        >>> sizes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] * 10
        >>> curve = fit_pod(sizes, [size + k % 3 > 5 for k, size in enumerate(sizes)])
        >>> round(curve.size_at(0.5), 1), curve.size_at(0.9) < curve.bound_at(0.9)
        (4.4, True)
    """
    sizes, hits = np.asarray(sizes, dtype=np.float64), np.asarray(hits, dtype=bool)
    if sizes.ndim != 1 or sizes.shape != hits.shape or not len(sizes) or not (sizes > 0).all():
        raise ValueError(f"need as many sizes above 0 as hits, got shapes {sizes.shape} and {hits.shape}")
    order = np.argsort(sizes, kind="stable")
    sizes, hits = sizes[order], hits[order]
    if hits.all() or not hits.any():
        return PodCurve(sizes, hits)
    if sizes[0] == sizes[-1]:
        raise ValueError("all defects have one size: there is no curve over it")
    logs = np.log(sizes)
    centre, scale = logs.mean(), logs.std()
    design = np.stack([np.ones_like(logs), (logs - centre) / scale], axis=1)
    best = _maximise(design, hits)
    groups = (
        np.arange(len(sizes)) if images is None else np.unique(np.asarray(images, dtype=str), return_inverse=True)[1]
    )
    edge = _edge(design, hits, best, _cutoff(design, hits, best, groups[order]))

    def unscaled(pairs: np.ndarray) -> np.ndarray:
        slope = pairs[..., 1] / scale
        return np.stack([pairs[..., 0] - slope * centre, slope], axis=-1)

    intercept, slope = unscaled(best).tolist()
    return PodCurve(sizes, hits, intercept, slope, unscaled(edge))


def _likelihood(design: np.ndarray, hits: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Penalised log-likelihoods (m,) of pairs (m, 2)."""
    x = design[:, 1]
    logits = pairs[:, :1] + pairs[:, 1:] * x
    decay = np.exp(-np.abs(logits))
    # log p of a hit is -log(1 + exp(-logit)), of a miss -log(1 + exp(logit)); p (1 - p) is the weight.
    fit = np.minimum(np.where(hits, logits, -logits), 0) - np.log1p(decay)
    weight = decay / (1 + decay) ** 2
    information = weight.sum(axis=1) * (weight @ x**2) - (weight @ x) ** 2
    with np.errstate(divide="ignore"):
        return fit.sum(axis=1) + 0.5 * np.log(np.maximum(information, 0))


def _information(design: np.ndarray, pair: np.ndarray) -> np.ndarray:
    probability = special.expit(design @ pair)
    return (design * (probability * (1 - probability))[:, None]).T @ design


def _maximise(design: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """The pair (2,) of the largest penalised likelihood, by Newton's steps on Firth's modified score."""
    pair = np.zeros(2)
    for _ in range(ITERATIONS):
        probability = special.expit(design @ pair)
        inverse = np.linalg.inv(_information(design, pair))
        weight = probability * (1 - probability)
        leverage = weight * np.einsum("ni,ij,nj->n", design, inverse, design)
        step = inverse @ (design.T @ (hits - probability + leverage * (0.5 - probability)))
        step *= min(1.0, STEP / max(np.abs(step).max(), 1e-300))
        now = _likelihood(design, hits, pair[None])[0]
        while np.abs(step).max() > TOLERANCE and _likelihood(design, hits, (pair + step)[None])[0] < now:
            step /= 2
        pair = pair + step
        if np.abs(step).max() <= TOLERANCE:
            break
    return pair


def _cutoff(design: np.ndarray, hits: np.ndarray, best: np.ndarray, groups: np.ndarray) -> float:
    """Half of what twice the log-likelihood ratio may reach, for one-sided bounds at `CONFIDENCE`."""
    count = int(groups.max()) + 1
    if count == len(hits):
        return special.chdtri(1, 2 * (1 - CONFIDENCE)) / 2
    inverse = np.linalg.inv(_information(design, best))
    scores = np.zeros((count, 2))
    np.add.at(scores, groups, design * (hits - special.expit(design @ best))[:, None])
    robust = inverse @ (scores.T @ scores) @ inverse * (count / max(count - 1, 1))
    places = [(special.logit(level) - best[0]) / best[1] if best[1] else 0.0 for level in (0.5, 0.9)]
    lines = np.stack([np.ones(len(places)), places], axis=1)
    ratio = np.einsum("ni,ij,nj->n", lines, robust, lines) / np.einsum("ni,ij,nj->n", lines, inverse, lines)
    # Few images: Student's quantile in place of the normal one.
    return special.stdtrit(max(count - 1, 1), CONFIDENCE) ** 2 / 2 * max(1.0, float(ratio.max()))


def _edge(design: np.ndarray, hits: np.ndarray, best: np.ndarray, cutoff: float) -> np.ndarray:
    """Pairs (RAYS, 2) where the log-likelihood is `cutoff` below its maximum, one in each direction."""
    lowest = _likelihood(design, hits, best[None])[0] - cutoff
    # Circles in units of the standard errors.
    angles = np.linspace(0, 2 * np.pi, RAYS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    directions = circle @ np.linalg.cholesky(np.linalg.inv(_information(design, best))).T
    inner, outer = np.zeros(RAYS), np.full(RAYS, np.sqrt(2 * cutoff))
    for _ in range(FURTHEST):
        inside = _likelihood(design, hits, best + outer[:, None] * directions) > lowest
        if not inside.any():
            break
        inner, outer = np.where(inside, outer, inner), np.where(inside, 1.5 * outer, outer)
    for _ in range(HALVINGS):
        middle = (inner + outer) / 2
        inside = _likelihood(design, hits, best + middle[:, None] * directions) > lowest
        inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
    return best + outer[:, None] * directions
