"""The test set's ground truth, the maps of a set of cached features, and examples that a page can watch."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from altub.data import Category, Sample
from altub.data.category import interleave_defects
from altub.device import Workers
from altub.evaluation.metrics import Evaluator, Metrics
from altub.files import explain_full_disk, write_atomically, write_json
from altub.inference.calibration import Calibration
from altub.inference.detector import AnomalyDetector

if TYPE_CHECKING:
    from altub.training.features import FeatureStore

__all__ = ["ExampleMaps", "TestSet", "collect_maps", "evaluate_detector"]

EXAMPLES = 6  # images whose heatmaps are kept for watching
EXAMPLE_SIDE = 256  # pixels, at most
_FLOAT16_MAX = 65504.0  # an NLL map has no upper end; infinity in a picture is of no use


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
    test = TestSet(category.test, detector.config.image_size)
    found = []
    for images in detector.open_images(sample.source for sample in test.samples):
        maps, scales = detector.raw_maps(images)
        found.append((maps.numpy(), detector.image_scores(scales).numpy()))
    return test.evaluate(*(np.concatenate(values) for values in zip(*found, strict=True)))


class ExampleMaps:
    """Writes the maps of a few images after every epoch, so that one can watch them become right.

    Epochs 0, 1, 2, 3, 5, 10, 20, 30, 50, 100, ... and the latest are kept.
    """

    def __init__(self, folder: Path, samples: Sequence[Sample]) -> None:
        self.folder = folder
        self.indices = _choose_examples(samples)
        with explain_full_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(
            folder / "examples.json",
            {
                "images": [
                    {
                        "path": str(samples[i].path),
                        "defect": samples[i].defect,
                        "mask_path": str(samples[i].mask_path) if samples[i].mask_path else None,
                    }
                    for i in self.indices
                ]
            },
        )

    def write(self, epoch: int, maps: np.ndarray, calibration: Calibration) -> None:
        """Keeps the examples' share of `maps` (N, S, S), which are of the samples given at construction."""
        chosen = torch.from_numpy(maps[self.indices])[:, None]
        if chosen.shape[-1] > EXAMPLE_SIDE:
            chosen = F.interpolate(chosen, (EXAMPLE_SIDE, EXAMPLE_SIDE), mode="area")
        buffer = BytesIO()
        np.savez_compressed(
            buffer,
            maps=chosen[:, 0].clamp(-_FLOAT16_MAX, _FLOAT16_MAX).numpy().astype(np.float16),
            low=calibration.colour_low,
            high=calibration.colour_high,
            threshold=float(calibration.peaks[-1]),
        )
        write_atomically(self.folder / f"epoch_{epoch:05d}.npz", buffer.getvalue())
        for path in self.folder.glob("epoch_*.npz"):
            other = int(path.stem.removeprefix("epoch_"))
            if other > epoch or (other < epoch and not _is_milestone(other)):
                path.unlink(missing_ok=True)


def _is_milestone(epoch: int) -> bool:
    return str(epoch).rstrip("0") in ("", "1", "2", "3", "5")  # "": epoch 0


def _choose_examples(samples: Sequence[Sample]) -> list[int]:
    """Positions of up to `EXAMPLES` samples: each defect in turn and one good one, or good ones alone."""
    good = [position for position, sample in enumerate(samples) if not sample.is_defective]
    defective = interleave_defects(samples)[: EXAMPLES - 1 if good else EXAMPLES]
    return defective + good[: 1 if defective else EXAMPLES]
