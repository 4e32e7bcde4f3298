"""The prediction of a detector for an image, and its verdict at a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from altub.inference.threshold import Threshold

__all__ = ["MaskedVerdict", "Prediction", "Verdict", "full_size_map"]


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
        anomaly_map: float32 (H, W) at the image's own size, higher is more anomalous.
        scale_maps: float32 (scales, h, w) at the model's input size; their mean is the map before smoothing.
        score: mean of the highest values of that mean map (the share `DetectorConfig.score_share`), or its maximum.
        p_value: share of good images at least this anomalous, estimated from the held-out ones (conformal).
    """

    anomaly_map: np.ndarray
    scale_maps: np.ndarray
    score: float
    p_value: float

    @classmethod
    def from_maps(
        cls, anomaly_map: Tensor, scale_maps: Tensor, size: tuple[int, int], score: float, p_value: float
    ) -> Prediction:
        """From the map (h, w) and the scales (scales, h, w) of a model, for an image of (width, height)."""
        return cls(full_size_map(anomaly_map, size), scale_maps.numpy(), score, p_value)

    def at(self, threshold: Threshold) -> MaskedVerdict:
        """Verdict, mask and marked area at this threshold."""
        mask = threshold.mask(self.anomaly_map)
        marked_area = np.count_nonzero(mask) / mask.size
        return MaskedVerdict(threshold.is_exceeded_by(self.score), marked_area, threshold, mask)


def full_size_map(anomaly_map: Tensor, size: tuple[int, int]) -> np.ndarray:
    """A model's map (h, w) at the size (width, height) of its image, float32 (height, width)."""
    width, height = size
    with torch.inference_mode():
        full = F.interpolate(anomaly_map[None, None], (height, width), mode="bilinear", align_corners=False)
    return full[0, 0].numpy()
