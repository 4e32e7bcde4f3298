"""The prediction of a detector for an image, and its verdict at a threshold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from altub.plots.enlarge import enlarged, enlarged_strips

if TYPE_CHECKING:
    from altub.inference.threshold import Threshold

__all__ = ["MaskedVerdict", "Prediction", "Verdict"]


@dataclass(frozen=True)
class Verdict:
    """The verdict on an image at a threshold.

    Attributes:
        is_anomalous: the score is above the threshold.
        marked_area: share of the image's pixels whose map is above the threshold's `pixel_value`, 0 to 1.
        threshold: with its origin.
    """

    is_anomalous: bool
    marked_area: float
    threshold: Threshold


@dataclass(frozen=True, eq=False)
class MaskedVerdict(Verdict):
    """A verdict with the marked pixels.

    Attributes:
        mask: bool (H, W), at the image's own size.
    """

    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result of a detector for one image; it depends on no threshold.

    Attributes:
        model_map: float32 (h, w) at the model's input size, higher is more anomalous.
        scale_maps: float32 (scales, h, w) at the model's input size; their mean is the map before smoothing.
        score: mean of the highest values of that mean map (the share `DetectorConfig.score_share`), or its maximum.
        p_value: share of good images at least this anomalous, estimated from the held-out ones (conformal).
        size: (width, height) of the image; None: that of the model's map.
    """

    model_map: np.ndarray
    scale_maps: np.ndarray
    score: float
    p_value: float
    size: tuple[int, int] | None = None

    @classmethod
    def from_maps(
        cls, anomaly_map: Tensor, scale_maps: Tensor, size: tuple[int, int], score: float, p_value: float
    ) -> Prediction:
        """From the map (h, w) and the scales (scales, h, w) of a model, for an image of (width, height)."""
        return cls(anomaly_map.numpy(), scale_maps.numpy(), score, p_value, size)

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the image."""
        return self.size or self.model_map.shape[::-1]

    @cached_property
    def anomaly_map(self) -> np.ndarray:
        """The map at the image's own size, float32 (H, W): 4 bytes a pixel, kept once it was asked for."""
        return enlarged(self.model_map, self.image_size)

    def strips(self) -> Iterator[np.ndarray]:
        """The rows of `anomaly_map` from top to bottom, some at a time; for images too large to hold it."""
        return (strip for _, strip in enlarged_strips(self.model_map, self.image_size))

    def at(self, threshold: Threshold) -> MaskedVerdict:
        """Verdict, mask and marked area at this threshold."""
        width, height = self.image_size
        mask = np.empty((height, width), bool)
        for top, strip in enlarged_strips(self.model_map, self.image_size):
            mask[top : top + len(strip)] = threshold.mask(strip)
        marked_area = np.count_nonzero(mask) / mask.size
        return MaskedVerdict(threshold.is_exceeded_by(self.score), marked_area, threshold, mask)

    def verdict(self, threshold: Threshold) -> Verdict:
        """`at` without the mask, for images too large to hold one."""
        width, height = self.image_size
        marked = sum(np.count_nonzero(threshold.mask(strip)) for strip in self.strips())
        return Verdict(threshold.is_exceeded_by(self.score), marked / (width * height), threshold)
