"""The test set's ground truth, and the maps of a set of cached features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from altub.data import Category, Sample
from altub.device import Workers
from altub.evaluation.metrics import Evaluator, Metrics
from altub.evaluation.verdict_counts import VerdictCounts
from altub.inference.detector import AnomalyDetector
from altub.inference.threshold import Threshold

if TYPE_CHECKING:
    from altub.training.features import FeatureStore

__all__ = ["TestSet", "collect_maps", "evaluate_detector", "evaluate_verdicts"]


def collect_maps(
    detector: AnomalyDetector, store: FeatureStore, batch_size: int, workers: Workers, *, loss: bool = False
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Maps (N, S, S) float32 and scores (N,) of a feature store; with `loss` also each scale's mean NLL in nats."""
    size = (store.image_size, store.image_size)

    def piece(features: list[Tensor]) -> tuple[np.ndarray, np.ndarray, Tensor | None]:
        maps, scales = detector.maps_from_features(features, size)
        found = maps.float().cpu().numpy(), detector.image_scores(scales.float()).cpu().numpy()
        if not loss:
            return *found, None
        with torch.no_grad():
            nll = detector.pyramid.nll(detector.pyramid.normalise(features))
        return *found, torch.stack([head.double().sum() for head in nll])

    pieces = list(workers.map(piece, (features for _, features in store.batches(batch_size))))
    maps, scores = (np.concatenate([piece[k] for piece in pieces]) for k in (0, 1))
    means = (sum(sums for *_, sums in pieces) / len(store)).tolist() if loss else []
    return maps, scores, means


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
    test = TestSet(category.test, detector.config.image_size)
    found = []
    for images in detector.open_images(sample.source for sample in test.samples):
        maps, scales = detector.raw_maps(images)
        found.append((maps.numpy(), detector.image_scores(scales).numpy()))
    maps, scores = (np.concatenate(values) for values in zip(*found, strict=True))
    return test.evaluate(maps, scores), VerdictCounts.of(test.samples, scores, threshold)
