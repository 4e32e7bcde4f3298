"""Cross-conformal calibration: where no good image can be spared, each is scored by a model that did not see it.

The trained images are divided into K folds. For every fold a model is made from the others, in the same way but in
fewer epochs, and scores it. Together with the held-out images, which the trained model itself scores, they calibrate
the trained model: n is then the number of all good images. What that promises, and what not, is explained in
`altub.inference.calibration`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from altub.flows import FeatureNorm, FlowPyramid
from altub.training.adapt import fit_base
from altub.training.calibration import BATCH, calibrate_by_energies, energies_of
from altub.training.epoch import image_order
from altub.training.features import FeatureStore
from altub.training.preparation import Prepared, fit_norms
from altub.training.push import push_of_step
from altub.training.steps import Alternation

__all__ = ["EPOCHS_SHARE", "cross_calibrate", "fold_images"]

EPOCHS_SHARE = 1 / 3  # of the training's epochs, for the model of a fold


class _Part:
    """Some images of a feature store, as a store: what norms, bases and steps need of it."""

    def __init__(self, store: FeatureStore, images: Sequence[int]) -> None:
        self.store, self.images = store, list(images)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int], epoch: int = 0) -> list[Tensor]:
        return self.store.batch([self.images[index] for index in indices], epoch)

    def norms_left(self, pyramid: FlowPyramid) -> Sequence[FeatureNorm]:
        return self.store.norms_left(pyramid)

    def batches(self, size: int) -> Iterator[tuple[list[int], list[Tensor]]]:
        for start in range(0, len(self), size):
            indices = list(range(start, min(start + size, len(self))))
            yield indices, self.batch(indices)


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
        others = _Part(trained, [image for k, images in enumerate(folds) if k != number for image in images])
        pyramid = yield from _train_fold(parts, others, title)
        energies.append(_energies(parts, pyramid, _Part(trained, fold)))
        yield title
    pooled = [torch.cat(scale) for scale in zip(*energies, strict=True)]
    calibrate_by_energies(parts.detector, pooled, parts.device, folds=len(folds))


def _train_fold(parts: Prepared, images: _Part, title: str) -> Iterator[str]:
    """Yields what it is doing and returns a pyramid made from these images, as the whole training makes one."""
    config, schedule = parts.config, parts.config.base
    torch.manual_seed(config.seed)
    pyramid = FlowPyramid(parts.detector.config.flow, parts.pyramid.shapes).to(parts.device)
    pyramid.limit_to(parts.pyramid.inside)
    for _ in fit_norms(pyramid, images, parts.workers):
        yield f"{title}: fitting the norms"
    updates = Alternation(config, pyramid, parts.autocast, parts.workers)
    epochs = max(1, math.ceil(config.epochs * EPOCHS_SHARE))
    pushed = math.ceil(config.push_epochs * EPOCHS_SHARE)
    passes = math.ceil(len(images) / config.batch_size)
    for epoch in range(1, epochs + 1):
        order = image_order(len(images), config.seed, epoch)
        for index, turn in enumerate(schedule.epoch_turns(epoch)):
            if turn == "base" and schedule.base_update == "moments":
                fit_base(pyramid, images, precision=parts.autocast)
                continue
            for step in range(passes):
                batch = images.batch(order[step * config.batch_size : (step + 1) * config.batch_size], epoch)
                global_step = (epoch - 1) * passes + index * passes + step + 1
                progress = min((global_step - 1) / (epochs * passes), 1.0)
                push = push_of_step(parts.known, turn, epochs - epoch, pushed, global_step - 1, config.push_weight)
                for whose in schedule.step_turns(global_step) if turn == "flow" else ("base",):
                    updates.step(batch, whose, epoch, global_step, progress, push)
                yield f"{title}: epoch {epoch} of {epochs}"
    return pyramid.eval()


def _energies(parts: Prepared, pyramid: FlowPyramid, images: FeatureStore | _Part) -> list[Tensor]:
    """Per scale (n, h, w), on the CPU."""
    batches = (features for _, features in images.batches(BATCH))
    pieces = energies_of(pyramid, batches, parts.detector.config.log_det_weight, parts.workers)
    return [torch.cat(scale) for scale in zip(*pieces, strict=True)]
