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
    def measure(cls, anomaly_map: np.ndarray, thresholds: Iterable[float]) -> MarkedAreas:
        """From the full-size map, float32 (H, W), with the shares at these thresholds known."""
        ascending = np.unique(np.asarray(list(thresholds), dtype=np.float32))
        above = np.sort(anomaly_map[anomaly_map > ascending[0]])  # few pixels of most images
        shares = (above.size - np.searchsorted(above, ascending, side="right")) / anomaly_map.size
        known = dict(zip(ascending.tolist(), shares.tolist(), strict=True))
        return cls(float(anomaly_map.min()), float(anomaly_map.max()), known)

    def above(self, pixel_value: float, full_map: Callable[[], np.ndarray]) -> float:
        """The share of pixels above this value.

        Args:
            full_map: gives the map at full size; called only where the share does not follow from what is kept.
        """
        value = float(np.float32(pixel_value))  # as the map is compared
        if value >= self.highest:
            return 0.0
        if value < self.lowest:
            return 1.0
        share = self._known.get(value, self._asked.get(value))
        if share is None:
            anomaly_map = full_map()
            share = np.count_nonzero(anomaly_map > np.float32(value)) / anomaly_map.size
            while len(self._asked) >= REMEMBERED:
                self._asked.pop(next(iter(self._asked)), None)  # None: another thread was faster
            self._asked[value] = share
        return share
