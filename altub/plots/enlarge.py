"""Maps at the size of their images, whole or a strip of rows at a time.

Bilinear interpolation between the centres of pixels, as `torch.nn.functional.interpolate` with `align_corners=False`.
Every value is computed from its own four neighbours alone: a strip has exactly the values of the whole map.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["enlarged", "enlarged_strips"]

STRIP_PIXELS = 1 << 19  # small enough for a processor's cache: several times faster than the whole at once


def enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) at another size (width, height), float32 (height, width)."""
    width, height = size
    if values.shape == (height, width):
        return np.asarray(values, dtype=np.float32)
    result = np.empty((height, width), np.float32)
    for top, strip in enlarged_strips(values, size):
        result[top : top + len(strip)] = strip
    return result


def enlarged_strips(
    values: np.ndarray, size: tuple[int, int], pixels: int = STRIP_PIXELS
) -> Iterator[tuple[int, np.ndarray]]:
    """The rows of `enlarged(values, size)` from top to bottom: (first row, float32 (rows, width)).

    Args:
        pixels: of a strip, about.
    """
    width, height = size
    values = np.asarray(values, dtype=np.float32)
    if values.ndim != 2:
        raise ValueError(f"an anomaly map is an array (H, W), got one of shape {values.shape}")
    left, right, across = _neighbours(values.shape[1], width)
    above, below, down = _neighbours(values.shape[0], height)
    rows = max(1, pixels // width)
    for top in range(0, height, rows):
        here = slice(top, top + rows)
        first, last = above[here][0], below[here][-1] + 1
        source = values[first:last]
        wide = source[:, left] + (source[:, right] - source[:, left]) * across
        upper, lower = wide[above[here] - first], wide[below[here] - first]
        yield top, upper + (lower - upper) * down[here, None]


def _neighbours(have: int, want: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `want` places the two among `have` that it lies between, and how far from the first."""
    scale = float(np.float32(have / want))  # rounded like PyTorch's, by which versions before this one enlarged
    places = ((np.arange(want) + 0.5) * scale - 0.5).astype(np.float32)
    places = np.clip(places, 0, have - 1)
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, have - 1), (places - first).astype(np.float32)
