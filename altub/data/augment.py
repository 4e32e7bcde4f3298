"""Random flips and quarter turns of training images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Augment", "augmentation"]

#: augment(images (N, 3, S, S), epoch, indices of the N images) -> images (N, 3, S, S).
Augment = Callable[["Tensor", int, Sequence[int]], "Tensor"]


def augmentation(kinds: Collection[str], seed: int) -> Augment:
    """Flips and turns each image by numbers drawn from the seed, the epoch and the image's index alone.

    The same image is turned the same way whatever else is in its batch, so a resumed epoch repeats exactly.

    Args:
        kinds: any of "hflip", "vflip" (each for half of the images) and "rot90" (0, 90, 180 or 270 degrees).
        seed: >= 0.
    """

    def augment(images: Tensor, epoch: int, indices: Sequence[int]) -> Tensor:
        import torch

        return torch.stack([turn(image, epoch, int(i)) for image, i in zip(images, indices, strict=True)])

    def turn(image: Tensor, epoch: int, index: int) -> Tensor:
        mirrored, upside_down, quarters = np.random.default_rng([seed, epoch, index]).integers(4, size=3).tolist()
        if "hflip" in kinds and mirrored % 2:
            image = image.flip(-1)
        if "vflip" in kinds and upside_down % 2:
            image = image.flip(-2)
        return image.rot90(quarters, (-2, -1)) if "rot90" in kinds else image

    return augment
