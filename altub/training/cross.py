"""Cross-conformal calibration: where no good image can be spared, each is scored by a model that did not see it.

The trained images are divided into K folds. For every fold a model is made from the others, in the same way but in
fewer epochs, and scores it. Together with the held-out images, which the trained model itself scores, they calibrate
the trained model: n is then the number of all good images. What that promises, and what not, is explained in
`altub.inference.calibration`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from altub.flows import FlowPyramid
from altub.training.calibration import BATCH, calibrate_by_energies, energies_of
from altub.training.features import FeatureStore
from altub.training.preparation import Prepared, fit_norms
from altub.training.short import Part, train_epochs
from altub.training.steps import Alternation

__all__ = ["EPOCHS_SHARE", "cross_calibrate", "fold_images"]

EPOCHS_SHARE = 1 / 3  # of the training's epochs, for the model of a fold


def fold_images(count: int, folds: int, seed: int) -> list[list[int]]:
    """The numbers 0 to count - 1, shuffled by the seed, in `folds` parts of almost equal size (fewer if count is)."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return [order[start::folds] for start in range(min(folds, count))]


def cross_calibrate(parts: Prepared) -> Iterator[str]:
    """Calibrates `parts.detector` on all good images; yields what it is doing, in words. The weights stay.

    A generator that is closed half-way, as by a stop, has changed nothing.

    Raises:
        ModelError: a score is not finite.
    """
    config, trained = parts.config, parts.trained
    folds = fold_images(len(trained), config.cross_folds, config.seed)
    energies = [_energies(parts, parts.pyramid, parts.held_out)]
    for number, fold in enumerate(folds):
        title = f"cross-calibration, fold {number + 1} of {len(folds)}"
        others = Part(trained, [image for k, images in enumerate(folds) if k != number for image in images])
        pyramid = yield from _train_fold(parts, others, title)
        energies.append(_energies(parts, pyramid, Part(trained, fold)))
        yield title
    pooled = [torch.cat(scale) for scale in zip(*energies, strict=True)]
    calibrate_by_energies(parts.detector, pooled, parts.device, folds=len(folds))


def _train_fold(parts: Prepared, images: Part, title: str) -> Iterator[str]:
    """Yields what it is doing and returns a pyramid made from these images, as the whole training makes one."""
    config = parts.config
    torch.manual_seed(config.seed)
    pyramid = FlowPyramid(parts.detector.config.flow, parts.pyramid.shapes).to(parts.device)
    pyramid.limit_to(parts.pyramid.inside)
    pyramid.recompute_activations(config.recompute)
    for _ in fit_norms(pyramid, images, parts.workers):
        yield f"{title}: fitting the norms"
    updates = Alternation(config, pyramid, parts.autocast, parts.workers)
    epochs = max(1, math.ceil(config.epochs * EPOCHS_SHARE))
    pushed = math.ceil(config.push_epochs * EPOCHS_SHARE)
    for epoch, _ in train_epochs(updates, images, epochs, known=parts.known, pushed=pushed):
        yield f"{title}: epoch {epoch} of {epochs}"
    return pyramid.eval()


def _energies(parts: Prepared, pyramid: FlowPyramid, images: FeatureStore | Part) -> list[Tensor]:
    """Per scale (n, h, w), on the CPU."""
    batches = (features for _, features in images.batches(BATCH))
    pieces = energies_of(pyramid, batches, parts.detector.config.log_det_weight, parts.workers)
    return [torch.cat(scale) for scale in zip(*pieces, strict=True)]
