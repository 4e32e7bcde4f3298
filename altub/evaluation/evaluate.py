"""The test set's ground truth, and the maps of a set of cached features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from altub.data import Category, Sample
from altub.device import Workers
from altub.evaluation.metrics import Evaluator, Metrics
from altub.evaluation.verdict_counts import VerdictCounts
from altub.inference.detector import AnomalyDetector
from altub.inference.framing import Framing, square
from altub.inference.threshold import Threshold

if TYPE_CHECKING:
    from altub.training.features import FeatureStore

__all__ = [
    "Collected",
    "Energies",
    "TestSet",
    "collect_energies",
    "collect_maps",
    "evaluate_detector",
    "evaluate_verdicts",
]


@dataclass(frozen=True)
class Collected:
    """What a detector makes of the images of a feature store.

    Attributes:
        maps: float32 (N, S, S), squashed to squares where the images' maps have another shape.
        scores: (N,).
        peaks: (N,), the largest value of each map as it was.
    """

    maps: np.ndarray
    scores: np.ndarray
    peaks: np.ndarray


@dataclass(frozen=True)
class Energies:
    """What the flows make of a feature store: all that maps and scores are read out of.

    Attributes:
        scales: per scale (N, h, w), of every image or tile.
        nll: per scale the mean NLL of an image (or tile) in nats.
    """

    scales: list[Tensor]
    nll: list[float]


def collect_energies(detector: AnomalyDetector, store: FeatureStore, batch_size: int, workers: Workers) -> Energies:
    """The energies of a feature store and its mean NLL, in one pass through the flows."""
    pyramid, weight = detector.pyramid, detector.config.log_det_weight
    norms = store.norms_left(pyramid)

    def piece(features: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        energies, nll = pyramid.energies_and_nll(pyramid.normalise(features, norms), weight)
        return energies, torch.stack([head.double().sum() for head in nll])

    pieces = list(workers.map(piece, (features for _, features in store.batches(batch_size))))
    scales = [torch.cat(values) for values in zip(*(energies for energies, _ in pieces), strict=True)]
    return Energies(scales, (sum(nll for _, nll in pieces) / len(store)).tolist())


def collect_maps(
    detector: AnomalyDetector,
    store: FeatureStore,
    batch_size: int,
    workers: Workers,
    *,
    energies: Sequence[Tensor] | None = None,
) -> Collected:
    """Maps and scores of a feature store's images.

    energies: what `collect_energies` found; without them they are computed.
    """
    pyramid, weight, side = detector.pyramid, detector.config.log_det_weight, store.framing.map_side
    norms = store.norms_left(pyramid)

    @torch.no_grad()
    def energies_of(places: Sequence[int]) -> list[Tensor]:
        if energies is not None:
            return [values[places[0] : places[-1] + 1] for values in energies]
        return pyramid.energy_maps(pyramid.normalise(store.batch(places), norms), weight)

    @torch.no_grad()
    def whole(places: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        maps, scales = detector.maps_from_energies(energies_of(places), (side, side))
        found = maps.float().cpu().numpy()
        return found, detector.image_scores(scales.float()).cpu().numpy(), found.max(axis=(1, 2))

    @torch.no_grad()
    def framed(image: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tiles = store.tiles_of(image)
        parts = (energies_of(tiles[start : start + batch_size]) for start in range(0, len(tiles), batch_size))
        values, scales = detector.maps_of_tiles(parts, store.frames[image])
        score = detector.image_scores(scales[None].float()).cpu().numpy()
        return square(values[None], side).float().cpu().numpy(), score, np.array([float(values.max())])

    if store.frames:
        pieces = list(workers.map(framed, range(store.image_count)))
    else:
        starts = range(0, len(store), batch_size)
        pieces = list(workers.map(whole, (range(start, min(start + batch_size, len(store))) for start in starts)))
    maps, scores, peaks = (np.concatenate([piece[k] for piece in pieces]) for k in range(3))
    return Collected(maps, scores, peaks)


class TestSet:
    """Ground truth of test images, read once."""

    __test__ = False  # not a test, whatever pytest makes of the name

    def __init__(self, samples: Sequence[Sample], image_size: int) -> None:
        self.samples = samples
        size = (image_size, image_size)
        masks = [sample.read_mask(size) for sample in self.samples]
        self._evaluator = Evaluator([sample.is_defective for sample in self.samples], masks)

    def evaluate(self, maps: np.ndarray, scores: np.ndarray) -> Metrics:
        return self._evaluator(maps, scores)


def evaluate_detector(detector: AnomalyDetector, category: Category) -> Metrics:
    """Metrics of a loaded detector on a category's test set, at the detector's input size."""
    return evaluate_verdicts(detector, category)[0]


def evaluate_verdicts(
    detector: AnomalyDetector, category: Category, threshold: Threshold | None = None
) -> tuple[Metrics, VerdictCounts]:
    """`evaluate_detector`, and what its verdicts at a threshold (None: the model's own) get wrong."""
    threshold = threshold or detector.threshold
    side = Framing.of(detector.config).map_side
    test = TestSet(category.test, side)
    found = []
    for images in detector.open_images(sample.source for sample in test.samples):
        maps, scales = detector.raw_maps(images)
        if isinstance(maps, Tensor):
            found.append((maps.numpy(), detector.image_scores(scales).numpy()))
        else:
            found += [
                (square(values[None], side).numpy(), detector.image_scores(parts[None]).numpy())
                for values, parts in zip(maps, scales, strict=True)
            ]
    maps, scores = (np.concatenate(values) for values in zip(*found, strict=True))
    return test.evaluate(maps, scores), VerdictCounts.of(test.samples, scores, threshold)
