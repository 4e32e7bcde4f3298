"""A detector calibrated on good images that it was not trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from altub.device import Workers
from altub.errors import ModelError
from altub.evaluation.evaluate import collect_maps

if TYPE_CHECKING:
    from torch import Tensor

    from altub.inference.detector import AnomalyDetector
    from altub.training.features import FeatureStore

__all__ = ["BATCH", "HeldOut", "calibrate"]

BATCH = 8  # images at a time; only speed and memory depend on it


@dataclass(frozen=True)
class HeldOut:
    """What a detector gives on held-out good images.

    Attributes:
        maps: float32 (N, S, S).
        scores: (N,).
        nll: per scale the mean negative log-likelihood of an image, in nats.
    """

    maps: np.ndarray
    scores: np.ndarray
    nll: list[float]


def calibrate(detector: AnomalyDetector, store: FeatureStore, workers: Workers) -> HeldOut:
    """Sets `detector.calibration` (and what its flow heads take from good images) by the features of held-out ones.

    Raises:
        ModelError: a likelihood or a score is not finite; the calibration is then as it was.
    """
    if detector.needs_energies:
        _calibrate_scales(detector, store, workers)
    maps, scores, nll = collect_maps(detector, store, BATCH, workers, loss=True)
    if not all(map(math.isfinite, nll)) or not np.isfinite(scores).all():
        raise ModelError("The model gives no finite scores on held-out good images: train it again.")
    detector.calibration = detector.fit_calibration(scores, maps)
    return HeldOut(maps, scores, nll)


def _calibrate_scales(detector: AnomalyDetector, store: FeatureStore, workers: Workers) -> None:
    """Shows flow heads and scales the energies of held-out good images, by which maps and scores are measured."""
    pyramid, weight = detector.pyramid, detector.config.log_det_weight

    def energies(features: list[Tensor]) -> list[Tensor]:
        return pyramid.energy_maps(pyramid.normalise(features), weight)

    pieces = list(workers.map(energies, (features for _, features in store.batches(BATCH))))
    detector.calibrate_scales([torch.cat(maps) for maps in zip(*pieces, strict=True)])
