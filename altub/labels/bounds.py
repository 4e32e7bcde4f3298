"""Two tests of "this rate is at least `rate`" from random losses of 0 and 1; a small value refutes it.

`binomial_p_value` is exact for a number of images that was fixed beforehand. `betting_p_value` may be looked at after
every image, and one may stop whenever one likes, for example as soon as it is small enough; and it takes weights.

*Betting.* Let w be the weight of an image, l its loss (0 or 1), x = w (l - rate), and x = 0 for an image of the other
class. If the rate is at least `rate`, x has a mean of at least 0 at every draw, whatever came before. The stake

    K = (1 - b x_1) (1 - b x_2) ...        with 0 <= b <= 1 / (W (1 - rate)), W the largest weight

then is never negative and does not grow on average, and neither does the mean of such stakes over several b. By Ville's
inequality the probability that it *ever* reaches 1 / p is at most p: 1 / max K is a p-value at every moment.

References: I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86(1), 2024
(https://arxiv.org/abs/2010.09686); J. Ville, "Étude critique de la notion de collectif", 1939.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["betting_p_value", "binomial_p_value", "needed_images"]

_STAKES = 64
# Shares of the largest stake: for each rate below the one that is to be refuted, the share that bets on it best.
_SHARES = (np.arange(_STAKES) + 0.5) / _STAKES


def binomial_p_value(losses: int, n: int, rate: float) -> float:
    """Probability of at most so many losses of n, if each has this probability.

    Example:
        >>> round(binomial_p_value(0, 59, 0.05), 4)
        0.0485
    """
    from scipy.stats import binom

    return float(binom.cdf(losses, n, rate))


def betting_p_value(losses: np.ndarray, rate: float, weights: np.ndarray, counts: np.ndarray | None = None) -> float:
    """p-value of "the losses have a mean of at least `rate`", at every moment of the sequence.

    Args:
        losses: 0 or 1, (n,), in the order of the draws.
        rate: between 0 and 1.
        weights: above 0, (n,), as many images as each stands for; their largest value must be known beforehand.
        counts: bool (n,), False for images of the other class, which say nothing; default all True.

    Example:
        >>> betting_p_value(np.zeros(80), 0.05, np.ones(80)) < 0.1
        True
    """
    weights = np.asarray(weights, float)
    if weights.size == 0:
        return 1.0
    x = weights / weights.max() * (np.asarray(losses, float) - rate)
    if counts is not None:
        x = np.where(counts, x, 0.0)
    growth = np.log1p(-np.outer(x, _SHARES / (1 - rate)))
    logs = np.cumsum(growth, axis=0)
    top = logs.max(axis=1, keepdims=True)
    stake = top[:, 0] + np.log(np.exp(logs - top).mean(axis=1))
    return float(min(1.0, math.exp(-max(stake.max(), 0.0))))


def needed_images(rate: float, p: float, *, sequential: bool) -> int:
    """Number of images of the class without any loss that it takes to get a p-value of at most p."""
    if not sequential:
        return math.ceil(math.log(p) / math.log1p(-rate) - 1e-9)
    growth = np.log1p(_SHARES * rate / (1 - rate))
    n = 1
    while np.exp(n * growth).mean() < 1 / p:
        n += 1
    return n
