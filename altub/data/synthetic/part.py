"""Where the part lies in an image, as far as its background gives it away."""

from __future__ import annotations

import numpy as np

__all__ = ["find_part"]

ANALYSED = 256  # pixels: larger images are looked at in steps
FRAME = 0.03  # width of the border that counts as background, share of the shorter side
UNIFORM = 0.12  # a border whose colours differ more than this is no background
LEAST_DIFFERENCE = 0.05  # of the part from the background, in any channel
SHADOW = 0.4  # of the part's own difference; what differs less is its shadow
LEAST_SHARE, MOST_SHARE = 0.02, 0.95  # of the image; anything else is no part on a background
LEAST_PIECE = 0.005  # share of the image; smaller pieces are dirt


def find_part(image: np.ndarray) -> np.ndarray:
    """The pixels of the part, bool (H, W), of an image (H, W, 3) in [0, 1].

    What differs from the colour of the border, without holes and small pieces. Everything, where the border is not of
    one colour (a fabric, a part that fills the image) or hardly anything differs from it.

    Example:
        >>> image = np.ones((64, 64, 3), np.float32)
        >>> image[16:48, 20:44] = 0.3
        >>> part = find_part(image)
        >>> bool(part[17:47, 21:43].all()), bool(part[:15].any())
        (True, False)
    """
    from scipy import ndimage

    step = max(1, -(-max(image.shape[:2]) // ANALYSED))
    small = ndimage.uniform_filter(image, (step, step, 0))[step // 2 :: step, step // 2 :: step] if step > 1 else image
    part = _part(small)
    if step == 1:
        return part
    rows, columns = (np.minimum(np.arange(n) // step, m - 1) for n, m in zip(image.shape, part.shape, strict=False))
    return part[rows[:, None], columns]


def _part(image: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    everything = np.ones(image.shape[:2], dtype=bool)
    width = max(2, round(FRAME * min(everything.shape)))
    frame = everything.copy()
    frame[width:-width, width:-width] = False
    background = np.median(image[frame], axis=0)
    distance = np.abs(ndimage.uniform_filter(image, (3, 3, 0)) - background).max(axis=-1)
    spread = np.quantile(distance[frame], 0.9)
    if spread > UNIFORM:
        return everything
    least = max(LEAST_DIFFERENCE, 2 * spread)
    if not (distance > least).any():
        return everything
    least = max(least, SHADOW * np.quantile(distance[distance > least], 0.9))
    part = ndimage.binary_fill_holes(ndimage.binary_opening(distance > least))
    labels, count = ndimage.label(part)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    part = (sizes >= LEAST_PIECE * part.size)[labels]
    return part if LEAST_SHARE <= part.mean() <= MOST_SHARE else everything
