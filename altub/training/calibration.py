"""A detector calibrated on good images that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from altub.device import Workers
from altub.errors import ModelError
from altub.evaluation.evaluate import collect_energies, collect_maps
from altub.inference.calibration import Calibration

if TYPE_CHECKING:
    from torch import Tensor

    from altub.flows import FlowPyramid
    from altub.inference.detector import AnomalyDetector
    from altub.training.features import FeatureStore

__all__ = ["BATCH", "HeldOut", "calibrate", "calibrate_by_energies", "energies_of", "maps_of_energies"]

BATCH = 8  # images at a time; only speed and memory depend on it
PIXELS_KEPT = 13  # every so many pixels of a map give the colours' low end, a median


@dataclass(frozen=True)
class HeldOut:
    """What a detector gives on held-out good images.

    Attributes:
        maps: float32 (N, S, S).
        scores: (N,).
        nll: per scale the mean negative log-likelihood of an image (or tile), in nats.
    """

    maps: np.ndarray
    scores: np.ndarray
    nll: list[float]


def calibrate(detector: AnomalyDetector, store: FeatureStore, workers: Workers) -> HeldOut:
    """Sets `detector.calibration` (and what its flow heads take from good images) by the features of held-out ones.

    Raises:
        ModelError: a likelihood or a score is not finite; the calibration is then as it was.
    """
    energies = collect_energies(detector, store, BATCH, workers)
    if detector.needs_energies:
        detector.calibrate_scales(energies.scales, store.frames)
    found = collect_maps(detector, store, BATCH, workers, energies=energies.scales)
    if not all(map(math.isfinite, energies.nll)) or not np.isfinite(found.scores).all():
        raise ModelError("The model gives no finite scores on held-out good images: train it again.")
    detector.calibration = detector.fit_calibration(found.scores, found.maps, found.peaks)
    return HeldOut(found.maps, found.scores, energies.nll)


def calibrate_by_energies(
    detector: AnomalyDetector, energies: Sequence[Tensor], device: torch.device, *, folds: int
) -> None:
    """Sets `detector.calibration` by energies (n, h, w) of every scale, measured by models that did not see the images.

    The detector's maps and scores are computed as ever: its ranges stay.

    Args:
        folds: number of these models.

    Raises:
        ModelError: a score is not finite; the calibration is then as it was.
    """
    scores, peaks, pixels = [], [], []
    inside = detector.inspected((detector.config.image_size,) * 2)
    for maps, found in maps_of_energies(detector, energies, device):
        scores.append(found)
        peaks.append(maps.max(axis=(1, 2)))
        kept = maps.reshape(len(maps), -1) if inside is None else maps[:, inside]
        pixels.append(kept[:, ::PIXELS_KEPT])
    detector.calibration = Calibration.fit(*map(np.concatenate, (scores, pixels, peaks)), folds=folds)


def energies_of(
    pyramid: FlowPyramid, batches: Iterable[list[Tensor]], log_det_weight: float, workers: Workers
) -> Iterator[list[Tensor]]:
    """Per batch of features the energies (n, h, w) of every scale, on the CPU."""

    @torch.no_grad()
    def piece(features: list[Tensor]) -> list[Tensor]:
        return [values.cpu() for values in pyramid.energy_maps(pyramid.normalise(features), log_det_weight)]

    return workers.map(piece, batches)


def maps_of_energies(
    detector: AnomalyDetector, energies: Sequence[Tensor], device: torch.device
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Maps (N, S, S) float32 and scores (N,) float64 of energies (n, h, w) of every scale, some images at a time.

    Raises:
        ModelError: a score is not finite.
    """
    side = detector.config.image_size
    for start in range(0, len(energies[0]), BATCH):
        part = [values[start : start + BATCH].to(device) for values in energies]
        maps, scales = detector.maps_from_energies(part, (side, side))
        scores = detector.image_scores(scales.float()).double().cpu().numpy()
        if not np.isfinite(scores).all():
            raise ModelError("The model gives no finite score for one of these images: fetch or train it again.")
        yield maps.float().cpu().numpy(), scores
