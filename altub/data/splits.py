"""Which good images are held out from training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from altub.data.category import Sample
from altub.errors import DataError

__all__ = ["split_held_out"]

LEAST_HELD_OUT = 4
LEAST_TRAINED = 4
ENOUGH_FOR_A_PROMISE = 19  # held-out images with which a false-alarm rate of 1 / (19 + 1) = 5 % can be promised
GOOD_IMAGES_TO_SPARE_THEM = 60


def split_held_out(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Good images to train on, and good images that give the held-out loss and the calibration.

    `share` of them, at least 4, chosen by `seed`; of 60 or more at least 19, with which the usual false-alarm rate of
    5 % can be promised.

    Raises:
        DataError: fewer than 8 good images.
    """
    if len(samples) < LEAST_HELD_OUT + LEAST_TRAINED:
        raise DataError(
            f"{len(samples)} good images are too few: at least {LEAST_HELD_OUT + LEAST_TRAINED} are needed, "
            f"{LEAST_HELD_OUT} of them to set the threshold. Add more images of good parts."
        )
    least = ENOUGH_FOR_A_PROMISE if len(samples) >= GOOD_IMAGES_TO_SPARE_THEM else LEAST_HELD_OUT
    count = min(max(least, math.ceil(share * len(samples))), len(samples) - LEAST_TRAINED)
    chosen = set(np.random.default_rng(seed).permutation(len(samples))[:count].tolist())
    trained = [sample for index, sample in enumerate(samples) if index not in chosen]
    return trained, [samples[index] for index in sorted(chosen)]
