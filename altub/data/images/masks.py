"""Masks of defective pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from altub.data.images.budget import BUDGET
from altub.data.images.pending import Rules, pending
from altub.errors import ImageError

__all__ = ["read_mask", "resize_mask"]

# A lossy mask is grey around its edges; in a lossless one every value but 0 means defect.
_LOSSY_MASK_THRESHOLD = 127


def read_mask(path: str | Path | bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """A mask of defective pixels as bool (H, W); every value but 0 means defect (in a JPEG: every value above
    127).

    ``size`` = (H, W) resizes with nearest neighbour. Transparent pixels count as 0.

    Raises:
        ImageError: as from `read_image`.
    """
    with pending(path, Rules.of()) as undecoded, BUDGET.hold(undecoded.pixels):
        image = undecoded.load()
        lossy = image.format in ("JPEG", "MPO")
        if image.mode == "1" or image.mode in ("L", "I", "F") or image.mode.startswith("I;16"):
            grey = np.asarray(image)
        else:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
            grey = np.asarray(image)[..., :3].max(axis=2)
        if grey.ndim != 2:
            raise ImageError(f"{undecoded.name} cannot be used as a mask: it has {grey.ndim} dimensions instead of 2.")
        mask = grey > (_LOSSY_MASK_THRESHOLD if lossy else 0)
        return np.array(mask if size is None else resize_mask(mask, size), dtype=bool)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A bool mask (H, W) at another size (H, W), by nearest neighbour."""
    if mask.shape == tuple(size):
        return mask
    height, width = size
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST), dtype=bool)
