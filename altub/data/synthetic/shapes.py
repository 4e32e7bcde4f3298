"""Shapes of an exact number of pixels: blobs and strokes that lie on the part."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from altub.data.synthetic.noise import gradient_noise

__all__ = ["Shape", "blob", "stroke"]

PLACES = 16  # tried, of which one with enough of the part around it is taken
CURVES = 24
EDGE = 0.3  # least weight, at the rim of a shape


class Shape(NamedTuple):
    """A shape within a window of an image.

    Attributes:
        window: rows and columns.
        weight: float32 (h, w) of the window: 0 outside, up to 1 in the middle, at least `EDGE` at the rim.
    """

    window: tuple[slice, slice]
    weight: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        """bool (h, w) of the window."""
        return self.weight > 0

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """bool (H, W) of the image."""
        mask = np.zeros(size, dtype=bool)
        mask[self.window] = self.inside
        return mask


def blob(part: np.ndarray, rng: np.random.Generator, area: int, softness: float = 0.3) -> Shape:
    """An irregular ellipse of exactly `area` pixels, all of them on the part (bool (H, W)).

    Args:
        area: at most the part's own.
        softness: share of the radius over which the weight fades towards the rim.
    """
    radius = math.sqrt(area / math.pi)
    row, column = _place(part, rng, math.ceil(radius))
    stretch = math.exp(rng.uniform(0, 0.6))
    turn = rng.uniform(0, math.pi)
    reach = math.ceil(2.2 * radius) + 2
    while True:
        window = _window(part.shape, row - reach, row + reach + 1, column - reach, column + reach + 1)
        if part[window].sum() >= area:
            break
        reach *= 2  # the part is thin here
    y, x = np.ogrid[window[0], window[1]]
    along = (x - column) * math.cos(turn) + (y - row) * math.sin(turn)
    across = (y - row) * math.cos(turn) - (x - column) * math.sin(turn)
    distance = np.hypot(along / stretch, across * stretch).astype(np.float32) + 0.25
    distance *= np.exp(0.25 * gradient_noise(distance.shape, rng, cell=max(radius, 4.0)))
    return _nearest(window, np.where(part[window], distance, np.inf), area, softness)


def stroke(part: np.ndarray, rng: np.random.Generator, length: float, width: float) -> Shape:
    """A curved line of `length * width` pixels, as much of it on the part (bool (H, W)) as a random choice finds.

    Args:
        length: at most the image's longer side.
        width: pixels, at least 1.
    """
    height, breadth = part.shape
    steps = max(round(length - width), 1)
    starts = np.argwhere(part)[rng.integers(part.sum(), size=CURVES)]
    bend = rng.normal(0, 0.5 / max(length, 8), (CURVES, 1)) + rng.normal(0, 0.02, (CURVES, steps)) / width
    angles = rng.uniform(0, 2 * np.pi, (CURVES, 1)) + np.cumsum(bend, axis=1)
    # A line goes both ways from its start, so that starts near the middle of a part are worth as much as at its rim.
    y, x = (
        np.cumsum(turned, axis=1) - np.cumsum(turned, axis=1)[:, [steps // 2]] + starts[:, [axis]]
        for axis, turned in enumerate((np.sin(angles), np.cos(angles)))
    )
    inside = (y > -0.5) & (y < height - 0.5) & (x > -0.5) & (x < breadth - 0.5)
    rows, columns = np.clip(np.rint(y), 0, height - 1).astype(int), np.clip(np.rint(x), 0, breadth - 1).astype(int)
    covered = (part[rows, columns] & inside).mean(axis=1)
    chosen = _among_the_best(covered, rng)
    points = np.stack([y[chosen], x[chosen]], axis=1)[inside[chosen]]
    area = max(round(length * width), 1)
    margin = math.ceil(width) + 2
    while True:
        (top, left), (bottom, right) = points.min(axis=0) - margin, points.max(axis=0) + margin
        window = _window(part.shape, math.floor(top), math.ceil(bottom) + 1, math.floor(left), math.ceil(right) + 1)
        size = (window[0].stop - window[0].start, window[1].stop - window[1].start)
        if size[0] * size[1] >= area or size == part.shape:
            break
        margin *= 2
    from scipy import ndimage
    from scipy.spatial import KDTree

    # Exact distances only for pixels near the curve.
    off = np.ones(size, dtype=bool)
    near_curve = np.rint(points).astype(int) - (window[0].start, window[1].start)
    off[near_curve[:, 0], near_curve[:, 1]] = False
    coarse = ndimage.distance_transform_edt(off)
    limit = np.partition(coarse.ravel(), min(area, coarse.size) - 1)[min(area, coarse.size) - 1] + 2
    near = np.argwhere(coarse <= limit)
    distance = np.full(size, np.inf, dtype=np.float32)
    exact, _ = KDTree(points - (window[0].start, window[1].start)).query(near)
    distance[near[:, 0], near[:, 1]] = exact + 0.25
    return _nearest(window, distance, min(area, coarse.size), softness=0.6)


def _nearest(window: tuple[slice, slice], distance: np.ndarray, area: int, softness: float) -> Shape:
    """The `area` pixels of the smallest distance."""
    order = np.argpartition(distance.ravel(), area - 1)[:area]
    nearest = distance.ravel()[order]
    weight = np.zeros(distance.size, dtype=np.float32)
    fade = (1 - nearest / nearest.max()) / softness
    weight[order] = EDGE + (1 - EDGE) * np.clip(fade, 0, 1)
    return Shape(window, weight.reshape(distance.shape))


def _place(part: np.ndarray, rng: np.random.Generator, reach: int) -> tuple[int, int]:
    """A pixel of the part with as much of the part around it as others have."""
    candidates = np.argwhere(part)[rng.integers(part.sum(), size=PLACES)]
    covered = [
        part[_window(part.shape, row - reach, row + reach + 1, column - reach, column + reach + 1)].sum()
        for row, column in candidates.tolist()
    ]
    row, column = candidates[_among_the_best(np.array(covered, dtype=float), rng)].tolist()
    return row, column


def _among_the_best(values: np.ndarray, rng: np.random.Generator) -> int:
    return int(rng.choice(np.flatnonzero(values >= 0.95 * values.max())))


def _window(size: tuple[int, ...], top: int, bottom: int, left: int, right: int) -> tuple[slice, slice]:
    """Rows and columns, cut off at the image's border."""
    return slice(max(top, 0), min(bottom, size[0])), slice(max(left, 0), min(right, size[1]))
