"""A training without recorder, checkpoint and evaluation: of a fold's model, or of a flow that follows a line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from altub.errors import ModelError
from altub.training.adapt import fit_base
from altub.training.epoch import image_order
from altub.training.losses import LossReader
from altub.training.push import push_of_step

if TYPE_CHECKING:
    from torch import Tensor

    from altub.flows import FeatureNorm, FlowPyramid
    from altub.training.features import FeatureStore
    from altub.training.push import KnownDefects
    from altub.training.steps import Alternation

__all__ = ["Part", "train_epochs"]


class Part:
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


def train_epochs(
    updates: Alternation, images: Part, epochs: int, *, known: KnownDefects | None = None, pushed: int = 0
) -> Iterator[tuple[int, int]]:
    """Trains `updates.pyramid` by the schedule of its settings; yields (epoch, images) after every batch.

    Args:
        epochs: in all, in place of the settings' own number.
        known: defects that are pushed away in the last `pushed` epochs.

    Raises:
        ModelError: the loss became infinite or NaN.
    """
    config, schedule = updates.config, updates.config.base
    passes, losses = math.ceil(len(images) / config.batch_size), LossReader()

    def look(epoch: int, wait: bool = False) -> None:
        for nll, _ in losses.arrived(wait):
            if not all(map(math.isfinite, nll)):
                raise ModelError(
                    f"The loss became infinite or NaN in epoch {epoch} of {epochs}: train with a lower "
                    "learning rate; where a model is adapted, choose another way than flow."
                )

    for epoch in range(1, epochs + 1):
        order = image_order(len(images), config.seed, epoch)
        for index, turn in enumerate(schedule.epoch_turns(epoch)):
            if turn == "base" and schedule.base_update == "moments":
                fit_base(updates.pyramid, images, precision=updates.precision)
                continue
            for step in range(passes):
                chosen = order[step * config.batch_size : (step + 1) * config.batch_size]
                batch = images.batch(chosen, epoch)
                global_step = (epoch - 1) * passes + index * passes + step + 1
                progress = min((global_step - 1) / (epochs * passes), 1.0)
                push = push_of_step(known, turn, epochs - epoch, pushed, global_step - 1, config.push_weight)
                for whose in schedule.step_turns(global_step) if turn == "flow" else ("base",):
                    losses.put(updates.enqueue(batch, whose, epoch, global_step, progress, push), len(chosen))
                look(epoch)
                yield epoch, len(chosen)
        look(epoch, wait=True)
