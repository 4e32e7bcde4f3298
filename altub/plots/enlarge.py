"""Maps at the size of their images, whole or a strip of rows at a time.

Bilinear interpolation between the centres of pixels, as `torch.nn.functional.interpolate` with `align_corners=False`.
Every value is computed from its own four neighbours alone: a strip has exactly the values of the whole map.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["blocks_above", "enlarged", "enlarged_strips"]

ROUNDING = 1e-5  # of the largest value: far more than a value between two others may come to lie outside of them
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
        yield top, _between(values, (above[here], below[here], down[here]), (left, right, across))


def blocks_above(values: np.ndarray, size: tuple[int, int], level: float) -> Iterator[tuple[int, int, np.ndarray]]:
    """The parts of `enlarged(values, size)` where a pixel may be above a level: (first row, first column, block).

    No pixel outside of them is. Of a map with few high values that is a small part, or nothing.
    """
    width, height = size
    values = np.asarray(values, dtype=np.float32)
    margin = ROUNDING * max(float(np.abs(values).max(initial=0)), abs(level))
    high = values > level - margin if np.isfinite(margin) else np.ones(values.shape, bool)
    if not high.any():
        return
    left, right, across = _neighbours(values.shape[1], width)
    above, below, down = _neighbours(values.shape[0], height)
    columns = _span((high.any(axis=0)[left]) | (high.any(axis=0)[right]))
    rows = _span((high.any(axis=1)[above]) | (high.any(axis=1)[below]))
    beside = (left[columns], right[columns], across[columns])
    step = max(1, STRIP_PIXELS // max(columns.stop - columns.start, 1))
    for top in range(rows.start, rows.stop, step):
        here = slice(top, min(top + step, rows.stop))
        yield top, columns.start, _between(values, (above[here], below[here], down[here]), beside)


def _span(marked: np.ndarray) -> slice:
    """From the first to the last True; empty where there is none, as in an image smaller than its map."""
    places = np.flatnonzero(marked)
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0)


def _between(
    values: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    columns: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> np.ndarray:
    """Values at places between rows and columns, each given as by `_neighbours`."""
    (above, below, down), (left, right, across) = rows, columns
    first = above[0]
    source = values[first : below[-1] + 1]
    wide = source[:, left] + (source[:, right] - source[:, left]) * across
    upper, lower = wide[above - first], wide[below - first]
    return upper + (lower - upper) * down[:, None]


def _neighbours(have: int, want: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `want` places the two among `have` that it lies between, and how far from the first."""
    scale = float(np.float32(have / want))  # rounded like PyTorch's, by which versions before this one enlarged
    places = ((np.arange(want) + 0.5) * scale - 0.5).astype(np.float32)
    places = np.clip(places, 0, have - 1)
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, have - 1), (places - first).astype(np.float32)
