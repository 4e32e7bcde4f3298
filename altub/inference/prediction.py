"""The prediction of a detector for an image, and its verdict at a threshold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from altub.plots.enlarge import blocks_above, enlarged, enlarged_strips

if TYPE_CHECKING:
    from torch import Tensor

    from altub.inference.regions import Region
    from altub.inference.threshold import Threshold

__all__ = ["KINDS", "Kind", "MaskedVerdict", "Prediction", "Verdict", "peak_level"]

#: What a verdict says, as a word. "not comparable": the image differs from the training images as a whole.
Kind = Literal["good", "borderline", "defect", "not comparable"]
KINDS: tuple[Kind, ...] = get_args(Kind)

PEAK_SHARE = 0.01  # of the map's pixels, marked where a defect has none above the threshold: those that make the score


@dataclass(frozen=True)
class Verdict:
    """The verdict on an image at a threshold.

    Attributes:
        is_anomalous: the score is above the threshold.
        marked_area: share of the image's pixels whose map is above `pixel_value`, 0 to 1; never 0 where the image is
            anomalous.
        threshold: with its origin.
        is_borderline: one held-out image more or fewer could turn the verdict (`Threshold.band`).
        pixel_value: map value above which pixels are marked. The threshold's; where an anomalous image has no pixel
            above that, a lower one that marks the region with the highest values, which made the score.
        reasons: why the image cannot be compared with the training images, in words; empty where it can.
    """

    is_anomalous: bool
    marked_area: float
    threshold: Threshold
    is_borderline: bool
    pixel_value: float
    reasons: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """The verdict in a word."""
        if self.reasons:
            return "not comparable"
        if self.is_borderline:
            return "borderline"
        return "defect" if self.is_anomalous else "good"


@dataclass(frozen=True, eq=False)
class MaskedVerdict(Verdict):
    """A verdict with the marked pixels.

    Attributes:
        mask: bool (H, W), at the image's own size: where the map is above `pixel_value`.
    """

    mask: np.ndarray = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result of a detector for one image; it depends on no threshold.

    Attributes:
        model_map: float32 (h, w) at the model's input size, higher is more anomalous.
        scale_maps: float32 (scales, h, w) at the model's input size; their mean is the map before smoothing.
        score: mean of the highest values of that mean map (the share `DetectorConfig.score_share`), or its maximum.
        p_value: share of good images at least this anomalous, estimated from the held-out ones (conformal).
        size: (width, height) of the image; None: that of the model's map.
        reasons: why the image cannot be compared with the training images, in words; empty where it can.
        anomaly_score: the score in the model's unit (`Calibration.score_unit`): 0 as a typical good part, 1 as the most
            unusual good part known, unbounded above. None: made without a calibration.
        regions: where the model looked.
    """

    model_map: np.ndarray
    scale_maps: np.ndarray
    score: float
    p_value: float
    size: tuple[int, int] | None = None
    reasons: tuple[str, ...] = ()
    anomaly_score: float | None = None
    regions: tuple[Region, ...] = ()

    @classmethod
    def from_maps(
        cls,
        anomaly_map: Tensor,
        scale_maps: Tensor,
        size: tuple[int, int],
        score: float,
        p_value: float,
        reasons: tuple[str, ...] = (),
        anomaly_score: float | None = None,
        regions: tuple[Region, ...] = (),
    ) -> Prediction:
        """From the map (h, w) and the scales (scales, h, w) of a model, for an image of (width, height)."""
        return cls(anomaly_map.numpy(), scale_maps.numpy(), score, p_value, size, reasons, anomaly_score, regions)

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
        mask = np.zeros((height, width), bool)
        verdict = self._verdict(threshold, mask)
        return MaskedVerdict(**vars(verdict), mask=mask)

    def verdict(self, threshold: Threshold) -> Verdict:
        """`at` without the mask, for images too large to hold one."""
        return self._verdict(threshold, None)

    def _verdict(self, threshold: Threshold, mask: np.ndarray | None) -> Verdict:
        level = threshold.pixel_value
        marked, is_anomalous = self._mark(level, mask), threshold.is_exceeded_by(self.score)
        if is_anomalous and not marked:
            highest = max(float(strip.max()) for _, strip in enlarged_strips(self.model_map, self.image_size))
            level = peak_level(self.model_map, highest)
            marked = self._mark(level, mask)
        width, height = self.image_size
        share, borderline = marked / (width * height), threshold.is_borderline(self.score)
        return Verdict(is_anomalous, share, threshold, borderline, level, self.reasons)

    def _mark(self, level: float, mask: np.ndarray | None) -> int:
        """Fills the mask, all False, with what is above the level; how many pixels that is."""
        marked = 0
        for top, left, block in blocks_above(self.model_map, self.image_size, level):
            above = block > level  # compared in float32
            marked += int(np.count_nonzero(above))
            if mask is not None:
                mask[top : top + above.shape[0], left : left + above.shape[1]] = above
        return marked


def peak_level(model_map: np.ndarray, highest: float) -> float:
    """The map value above which lies the region that made the score: the highest pixels, by `PEAK_SHARE`.

    Args:
        model_map: float32 (h, w) at the model's input size.
        highest: value of the map at the image's own size, where the peak of the small one may be missing.

    Returns:
        A value of float32 that at least one pixel of either map is above.
    """
    values = np.asarray(model_map, dtype=np.float32).ravel()
    place = values.size - max(round(PEAK_SHARE * values.size), 1)
    level = min(np.partition(values, place)[place], np.float32(highest))
    return float(np.nextafter(level, np.float32(-np.inf)))
