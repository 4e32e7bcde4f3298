"""Which good images are held out, and how the others may be turned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from altub.data import Sample
from altub.errors import DataError
from altub.training.config import TrainingConfig

__all__ = ["augmentation", "split_held_out"]

LEAST_HELD_OUT = 4
LEAST_TRAINED = 4


def split_held_out(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Good images to train on, and good images that give the held-out loss and the calibration.

    `share` of them, at least 4, chosen by `seed`.

    Raises:
        DataError: fewer than 8 good images.
    """
    if len(samples) < LEAST_HELD_OUT + LEAST_TRAINED:
        raise DataError(
            f"{len(samples)} good images are too few: at least {LEAST_HELD_OUT + LEAST_TRAINED} are needed, "
            f"{LEAST_HELD_OUT} of them to set the threshold. Add more pictures of good parts."
        )
    count = min(max(LEAST_HELD_OUT, math.ceil(share * len(samples))), len(samples) - LEAST_TRAINED)
    chosen = set(np.random.default_rng(seed).permutation(len(samples))[:count].tolist())
    trained = [sample for index, sample in enumerate(samples) if index not in chosen]
    return trained, [samples[index] for index in sorted(chosen)]


def augmentation(config: TrainingConfig) -> Callable[[Tensor, int], Tensor]:
    """Random flips and quarter turns of a batch (N, 3, S, S), drawn from the seed, the epoch and the batch itself."""

    def augment(images: Tensor, epoch: int) -> Tensor:
        # The images' own sum tells batches of one epoch apart, so that a resumed epoch turns them the same way.
        fingerprint = int(images.double().sum().item() * 1e3) & 0x7FFFFFFF
        generator = torch.Generator().manual_seed((config.seed * 1_000_003 + epoch * 7_919 + fingerprint) % 2**63)
        turned = []
        for image in images:
            draws = torch.randint(0, 4, (3,), generator=generator).tolist()
            if "hflip" in config.augment and draws[0] % 2:
                image = image.flip(-1)
            if "vflip" in config.augment and draws[1] % 2:
                image = image.flip(-2)
            if "rot90" in config.augment:
                image = torch.rot90(image, draws[2], (-2, -1))
            turned.append(image)
        return torch.stack(turned)

    return augment
