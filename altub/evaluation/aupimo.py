"""AUPIMO: how much of each defect is found at false-positive rates that good images alone set.

A threshold is judged by the share of pixels of *good* images at or above it; a defective image by the share of its
defect's pixels at or above it. The area under the second over the logarithm of the first, from 1e-5 to 1e-4 (a pixel or
less up to seven in an image of 256 x 256), divided by that range, is the image's value; the metric is their mean. Few
false positives are allowed, so that a value says what is found while hardly anything on good parts is marked.

Exact, not on a grid of thresholds: with a share `a` of the good pixels above a defective pixel and `b` at or above it,
the pixel is found in part (x - a) / (b - a) between the rates a and b and wholly beyond; the integral over d log x has
a closed form. Only the highest good pixels, up to the upper rate, are sorted.

J. P. C. Bertoldo, D. Ameln, A. Vaidya, S. Akçay, "AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High
Speed and Low Tolerance", BMVC 2024 (https://arxiv.org/abs/2401.01984).
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["LOWER", "UPPER", "aupimo", "aupimo_of_values"]

#: False-positive rates between which is integrated.
LOWER, UPPER = 1e-5, 1e-4


def aupimo(maps: np.ndarray, masks: np.ndarray, lower: float = LOWER, upper: float = UPPER) -> float | None:
    """AUPIMO in [0, 1] of maps (N, H, W) against bool masks (N, H, W), the mean over images with a defect.

    Images without one are the good ones. None where there is no image of one kind, or where the good ones have too few
    pixels to tell the lower rate from 0.

    Raises:
        ValueError: the shapes differ, or the rates are not 0 < lower < upper <= 1.

    Example:
        >>> maps, masks = np.zeros((2, 400, 400)), np.zeros((2, 400, 400), bool)
        >>> masks[1, :10, :10] = True
        >>> maps[1, :10, :5] = 1
        >>> round(aupimo(maps, masks), 3)
        0.5
    """
    maps, masks = np.asarray(maps), np.asarray(masks, dtype=bool)
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(f"maps and masks must share one shape (N, H, W), got {maps.shape} and {masks.shape}")
    bad = masks.any(axis=(1, 2))
    counts = masks[bad].sum(axis=(1, 2))
    weights = np.repeat(1 / (counts * max(len(counts), 1)), counts)
    return aupimo_of_values(maps[masks], weights, maps[~bad].ravel(), lower, upper)


def aupimo_of_values(
    defective: np.ndarray, weights: np.ndarray, good: np.ndarray, lower: float = LOWER, upper: float = UPPER
) -> float | None:
    """`aupimo` of the values of defective pixels (n,), with weights that sum to 1, and of good images' pixels (m,)."""
    if not 0 < lower < upper <= 1:
        raise ValueError(f"need rates 0 < lower < upper <= 1, got {lower} and {upper}")
    if not len(defective) or lower * len(good) < 1:
        return None
    kept = min(math.floor(upper * len(good)) + 1, len(good))
    top = np.sort(np.partition(good, len(good) - kept)[len(good) - kept :])
    above = kept - np.searchsorted(top, defective, side="right")
    at_or_above = kept - np.searchsorted(top, defective, side="left")
    at_or_above[defective == top[0]] = np.count_nonzero(good >= top[0])  # equal ones may lie outside of the highest
    start, end = above / len(good), at_or_above / len(good)
    low, high = start.clip(lower, upper), end.clip(lower, upper)
    whole = np.log(upper / high)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = ((high - low) - start * np.log(high / low)) / (end - start)  # between the two rates: ties
    # Below all of the kept ones: beyond the upper rate.
    found = np.where(defective < top[0], 0.0, whole + np.where(end > start, part, 0.0))
    return min(float(found @ weights) / math.log(upper / lower), 1.0)
