"""Images as the model's input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from altub.data.images.reading import read_image

if TYPE_CHECKING:
    import torch

__all__ = ["squashed", "to_pixels", "to_tensor"]


def to_tensor(image: Image.Image, size: int) -> torch.Tensor:
    """An image as (3, size, size) float32 in [0, 1], squashed to a square.

    Pillow's bilinear filter, which antialiases when it shrinks. An image that has this size already is not
    resampled: its values are exactly ``pixel / 255``.
    """
    import torch

    return torch.from_numpy(to_pixels(image, size))


def squashed(image: Image.Image, size: int) -> Image.Image:
    """An RGB image as a square of this side; itself where it is one."""
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)


def to_pixels(image: Image.Image, size: int) -> np.ndarray:
    """`to_tensor` as an array, for programs without torch."""
    if image.mode != "RGB":
        image = read_image(image)
    image = squashed(image, size)
    pixels = np.ascontiguousarray(np.asarray(image, np.uint8).transpose(2, 0, 1), np.float32)
    pixels /= np.float32(255)
    return pixels
