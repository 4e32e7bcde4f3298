"""The share of an image's pixels above a threshold, for many images and any threshold.

A batch holds hundreds of images, and their maps at full size do not fit into memory. Kept for each image are the lowest
and the highest value of its map and the shares at the thresholds that are asked for most, those of the calibration.
Only a threshold between the two ends that was not asked for before needs the full-size map, which is then computed
from the stored one (about 2 ms a megapixel on one core). All values are exact: they count the pixels that
`Threshold.mask` marks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

__all__ = ["MarkedAreas"]

REMEMBERED = 64  # thresholds for each image, beside those known from the beginning


class MarkedAreas:
    """Marked areas of one image.

    Args:
        lowest, highest: values of its map at full size.
        known: threshold, a float32 value -> share of the pixels strictly above it.
    """

    def __init__(self, lowest: float, highest: float, known: dict[float, float]) -> None:
        self.lowest, self.highest = lowest, highest
        self._known = dict(known)
        self._asked: dict[float, float] = {}

    @classmethod
    def measure(cls, strips: Iterable[np.ndarray], thresholds: Iterable[float]) -> MarkedAreas:
        """With the shares at these thresholds known.

        Args:
            strips: rows of the full-size map, float32, in any portions; the map itself will do.
        """
        ascending = np.unique(np.asarray(list(thresholds), dtype=np.float32))
        counts, pixels = np.zeros(ascending.size, np.int64), 0
        lowest, highest = np.inf, -np.inf
        for strip in strips:
            above = np.sort(strip[strip > ascending[0]])  # few pixels of most images
            counts += above.size - np.searchsorted(above, ascending, side="right")
            pixels += strip.size
            lowest, highest = min(lowest, float(strip.min())), max(highest, float(strip.max()))
        known = dict(zip(ascending.tolist(), (counts / pixels).tolist(), strict=True))
        return cls(lowest, highest, known)

    def above(self, pixel_value: float, strips: Callable[[], Iterable[np.ndarray]]) -> float:
        """The share of pixels above this value.

        Args:
            strips: gives the rows of the full-size map; called only where the share does not follow from what is
                kept.
        """
        value = float(np.float32(pixel_value))  # as the map is compared
        if value >= self.highest:
            return 0.0
        if value < self.lowest:
            return 1.0
        share = self._known.get(value, self._asked.get(value))
        if share is None:
            marked = pixels = 0
            for strip in strips():
                marked += np.count_nonzero(strip > np.float32(value))
                pixels += strip.size
            share = marked / pixels
            while len(self._asked) >= REMEMBERED:
                self._asked.pop(next(iter(self._asked)), None)  # None: another thread was faster
            self._asked[value] = share
        return share
