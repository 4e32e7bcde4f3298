"""Images as the model's input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from altub.data.images.reading import read_image

if TYPE_CHECKING:
    import torch

__all__ = ["to_tensor"]


def to_tensor(image: Image.Image, size: int) -> torch.Tensor:
    """An image as (3, size, size) float32 in [0, 1], squashed to a square.

    Pillow's bilinear filter, which antialiases when it shrinks. An image that has this size already is not
    resampled: its values are exactly ``pixel / 255``.
    """
    import torch

    if image.mode != "RGB":
        image = read_image(image)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div_(255)
