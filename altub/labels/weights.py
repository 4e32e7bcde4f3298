"""Importance weights: what labels that a queue chose say of all images.

Of n candidates the queue shows each with its own probability q. Weighting a shown image by 1 / (n q) makes its
expectation the mean over the candidates of that moment, but not over all images: what was shown before is no longer
among them. The weights of Farquhar, Gal and Rainforth correct for that ("On statistical bias in active learning: how
and when to fix it", ICLR 2021, https://arxiv.org/abs/2101.11665): with M images shown of N, the m-th of which was
chosen with probability q out of N - m + 1 candidates,

    v = 1 + (N - M) / (N - m) * (1 / ((N - m + 1) q) - 1)

so that the mean of v f over the shown images has the mean of f over all images as its expectation, for every f and
however the probabilities followed from what was seen before. Every q is at least `RANDOM_SHARE` / n, so that no v is
above 1 / `RANDOM_SHARE`.
"""

from __future__ import annotations

import numpy as np

__all__ = ["importance_weights"]


def importance_weights(probabilities: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The weights v (M,) of images in the order in which they were shown.

    Args:
        probabilities: q (M,).
        candidates: number of candidates of each showing (M,); it falls by one a showing, and where images were added
            meanwhile the weights are approximate.

    Example:
        >>> importance_weights(np.array([0.25, 1 / 3]), np.array([4, 3])).tolist()  # uniform draws
        [1.0, 1.0]
    """
    q, n = np.asarray(probabilities, float), np.asarray(candidates, float)
    if q.size == 0:
        return np.ones(0)
    left = max(n[-1] - 1, 0)  # never shown: N - M
    share = np.minimum(left / np.maximum(n - 1, 1), 1)
    return 1 + share * (1 / (n * q) - 1)
