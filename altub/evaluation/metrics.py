"""Image and pixel metrics of anomaly detection, exact and fast enough to run after every epoch.

All of them need only two things: for every defective sample, how many normal samples score above it and how
many score the same. So the normal pixels are sorted by value once (no index travels along) and the few
defective pixels look up their place among them. Pixel AUROC, AUPRO and F1-max share that one sort.

AUROC and AUPRO are then the same integral. Lower the threshold past one defective sample: if a share ``a`` of
the normal samples scores above it and a share ``b`` at or above it, the curve of the (weighted) detected
share over the false positive rate rises by the sample's weight ``w``, linearly between ``a`` and ``b``
(upright where nothing ties). Its part of the area up to a limit ``L`` is

    w * integral from 0 to L of clip((x - a) / (b - a), 0, 1) dx.

Equal weights and L = 1 give the AUROC (the Mann-Whitney statistic, ties at half weight); weights
``1 / (regions * area of the sample's region)`` and L = 0.3 give the AUPRO.

References: Bergmann, Batzner, Fauser, Sattlegger, Steger, "The MVTec Anomaly Detection Dataset", IJCV 2021
(https://doi.org/10.1007/s11263-020-01400-4), section on the per-region overlap; Mann and Whitney, "On a Test
of Whether one of Two Random Variables is Stochastically Larger than the Other", 1947.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from altub.evaluation.aupimo import aupimo_of_values
from altub.metrics import Metrics

__all__ = ["Evaluator", "Metrics", "aupro", "f1_max", "image_auroc", "pixel_auroc"]

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


class Evaluator:
    """Scores the maps of one test set again and again; what depends on the ground truth is computed once.

    Pixel metrics use the images that are good (every pixel normal, whatever ``masks`` holds for them) or have
    a mask. A defective image without a mask counts in the image metrics only.

    Args:
        labels: N values, True for a defective image.
        masks: N masks, bool (H, W), True on the defect, at the size of the maps; None where there is none.
    """

    def __init__(self, labels: Sequence[bool], masks: Sequence[np.ndarray | None]) -> None:
        self._labels = np.asarray(labels, dtype=bool)
        if self._labels.ndim != 1 or len(masks) != len(self._labels):
            raise ValueError(f"need one label and one mask (or None) per image, got {len(labels)} and {len(masks)}")
        flat = [
            None if mask is None or not defective else _as_mask(mask)
            for defective, mask in zip(self._labels, masks, strict=True)
        ]
        shapes = {mask.shape for mask in flat if mask is not None}
        if len(shapes) > 1:
            raise ValueError(f"masks of one test set must have one size, got {sorted(shapes)}")
        self._shape = shapes.pop() if shapes else None
        self._used = np.array([mask is not None or not bad for bad, mask in zip(self._labels, flat, strict=True)], bool)
        self._truth = _Truth.of(self._shape, [m for m, used in zip(flat, self._used, strict=True) if used])
        outlined = [(place, mask) for place, mask in enumerate(flat) if mask is not None and mask.any()]
        self._outlined = [place for place, _ in outlined]
        self._outlines = np.stack([mask for _, mask in outlined]) if outlined else None

    def __call__(self, maps: np.ndarray, scores: np.ndarray) -> Metrics:
        """Metrics of anomaly maps (N, H, W) and image scores (N,), higher meaning more anomalous.

        Raises:
            ValueError: a shape does not fit, or a value is NaN or infinite.
        """
        maps, scores = _as_floats(maps, "anomaly maps"), _as_floats(scores, "image scores")
        if scores.shape != self._labels.shape:
            raise ValueError(f"need {len(self._labels)} image scores, got an array of shape {scores.shape}")
        if maps.ndim != 3 or len(maps) != len(self._labels):
            raise ValueError(f"need {len(self._labels)} maps as (N, H, W), got an array of shape {maps.shape}")
        if self._shape is not None and maps.shape[1:] != self._shape:
            raise ValueError(f"maps of size {maps.shape[1:]} do not fit masks of size {self._shape}")

        images = _Ranks.of(scores[self._labels], scores[~self._labels])
        if self._truth is None:
            return Metrics(
                image_auroc=images and images.area(),
                pixel_auroc=None,
                aupro=None,
                f1_max=None,
                image_f1_max=images and images.f1_max()[0],
            )
        pixels = self._truth.ranks(maps if self._used.all() else maps[self._used])
        return Metrics(
            image_auroc=images and images.area(),
            pixel_auroc=pixels and pixels.area(),
            aupro=pixels and pixels.area(self._truth.weights, limit=0.3),
            aupimo=self._aupimo(maps),
            f1_max=pixels and pixels.f1_max()[0],
            image_f1_max=images and images.f1_max()[0],
        )

    def _aupimo(self, maps: np.ndarray) -> float | None:
        if self._outlines is None:
            return None
        counts = self._outlines.sum(axis=(1, 2))
        weights = np.repeat(1 / (counts * len(counts)), counts)  # every image counts the same
        return aupimo_of_values(maps[self._outlined][self._outlines], weights, maps[~self._labels].ravel())


def image_auroc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Area under the ROC curve of scores (N,) against labels (N,), ties count half; None for one class."""
    scores, labels = _pair(scores, labels)
    ranks = _Ranks.of(scores[labels], scores[~labels])
    return ranks and ranks.area()


def pixel_auroc(maps: np.ndarray, masks: np.ndarray) -> float | None:
    """AUROC over all pixels of maps (N, H, W) against bool masks (N, H, W); None for one class."""
    if np.shape(maps) != np.shape(masks):
        raise ValueError(f"maps and masks must share one shape, got {np.shape(maps)} and {np.shape(masks)}")
    return image_auroc(maps, masks)


def aupro(maps: np.ndarray, masks: np.ndarray, fpr_limit: float = 0.3) -> float | None:
    """Area under the per-region overlap curve, in [0, 1]; None without a defective or without a normal pixel.

    At every threshold each 8-connected region of the masks has a detected share of its pixels; the mean over
    all regions, as a curve over the false positive rate of all normal pixels, is integrated from 0 to
    ``fpr_limit`` (exactly to it, by linear interpolation) and divided by ``fpr_limit``.

    Args:
        maps: (N, H, W), higher is more anomalous.
        masks: bool (N, H, W).
        fpr_limit: in (0, 1].
    """
    if not 0 < fpr_limit <= 1:
        raise ValueError(f"fpr_limit must be in (0, 1], got {fpr_limit}")
    maps = _as_floats(maps, "anomaly maps")
    masks = np.asarray(masks)
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(f"maps and masks must share one shape (N, H, W), got {maps.shape} and {masks.shape}")
    truth = _Truth.of(maps.shape[1:], [_as_mask(mask) for mask in masks])
    ranks = truth and truth.ranks(maps)
    return ranks and ranks.area(truth.weights, limit=fpr_limit)


def f1_max(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Best F1 over all thresholds, and the highest threshold that reaches it.

    A sample is called defective where ``score >= threshold``.

    Args:
        scores: any shape, higher is more anomalous.
        labels: the same number of values, True for defective.

    Raises:
        ValueError: nothing is defective, so that F1 has no meaning.
    """
    scores, labels = _pair(scores, labels)
    if not labels.any():
        raise ValueError("F1 is not defined without a defective sample")
    return _Ranks(scores[labels], scores[~labels]).f1_max()


class _Ranks:
    """Where each defective sample stands among the normal ones."""

    def __init__(self, defective: np.ndarray, normal: np.ndarray) -> None:
        # The position among sorted normal scores; queries in sorted order walk the array once instead of
        # jumping.
        order = np.argsort(defective, kind="stable")
        queries, normal = defective[order], np.sort(normal)
        self.order, self.scores, self.n_normal = order, queries, len(normal)
        self.above = len(normal) - np.searchsorted(normal, queries, side="right")
        self.at_or_above = len(normal) - np.searchsorted(normal, queries, side="left")

    @classmethod
    def of(cls, defective: np.ndarray, normal: np.ndarray) -> _Ranks | None:
        """None where one of the two classes is empty."""
        return cls(defective, normal) if len(defective) and len(normal) else None

    def area(self, weights: np.ndarray | None = None, limit: float = 1.0) -> float:
        """Area under the curve up to a false positive rate, divided by that rate; weights sum to 1."""
        start, end = self.above / self.n_normal, self.at_or_above / self.n_normal
        full = limit - (start + end) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            cut = (limit - start) ** 2 / (2 * (end - start))  # the limit falls on the slope
        parts = np.where(end <= limit, full, np.where(start < limit, cut, 0.0))
        area = parts.mean() if weights is None else parts @ weights[self.order]
        return min(float(area) / limit, 1.0)  # rounding may pass 1 by one unit in the last place

    def f1_max(self) -> tuple[float, float]:
        # A threshold between two defective scores only adds false positives, so their own values are all
        # candidates.
        detected = len(self.scores) - np.searchsorted(self.scores, self.scores, side="left")
        f1 = 2 * detected / (detected + self.at_or_above + len(self.scores))
        best = len(f1) - 1 - int(np.argmax(f1[::-1]))
        return float(f1[best]), float(self.scores[best])


@dataclass(frozen=True)
class _Truth:
    """The ground truth of a stack of images, flattened, with each defective pixel's share in the AUPRO."""

    mask: np.ndarray  # bool (N * H * W,)
    weights: np.ndarray  # float64, one per defective pixel, summing to 1

    @classmethod
    def of(cls, shape: tuple[int, int] | None, masks: Sequence[np.ndarray | None]) -> _Truth | None:
        """From masks (None: all normal) of one size; None where no pixel is defective."""
        shares, n_regions = [], 0
        for mask in masks:
            if mask is None:
                continue
            regions, count = ndimage.label(mask, structure=_EIGHT_CONNECTED)
            regions = regions[mask]
            shares.append(1.0 / np.bincount(regions)[regions] if count else np.empty(0))
            n_regions += count
        if n_regions == 0:
            return None
        whole = np.stack([np.zeros(shape, dtype=bool) if mask is None else mask for mask in masks])
        return cls(mask=whole.ravel(), weights=np.concatenate(shares) / n_regions)

    def ranks(self, maps: np.ndarray) -> _Ranks | None:
        values = maps.reshape(-1)
        return _Ranks.of(values[self.mask], values[~self.mask])


def _pair(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = _as_floats(scores, "scores").ravel(), np.asarray(labels, dtype=bool).ravel()
    if len(scores) != len(labels):
        raise ValueError(f"need one label per score, got {len(scores)} scores and {len(labels)} labels")
    return scores, labels


def _as_mask(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"a mask is an array (H, W), got one of shape {mask.shape}")
    return mask.astype(bool, copy=False)


def _as_floats(values: np.ndarray, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ValueError(f"{bad} of {values.size} {what} are NaN or infinite: metrics need finite values")
    return values
