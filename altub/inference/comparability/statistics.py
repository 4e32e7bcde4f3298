"""Numbers that describe a whole picture: its colours, its sharpness, its compression, its shape.

A defect changes a part of a picture; another camera, lighting, product or file format changes all of it. Each number is
therefore a mean, or a quantile that a small part of the pixels cannot move far, of the picture as the model sees it,
scaled to the model's input size. JPEG's blocks are looked for at the picture's own size, because scaling hides them.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from altub.data.images.tensors import squashed

__all__ = ["picture_statistics"]

_FLOOR = 0.1  # grey levels: what is added before a logarithm; well below one step of 8 bits
_PLAIN = (128, 128, 128)  # what stands for pixels that do not count
_SMALL_PART = 1 / 8  # of the pixels: more than a defect covers
_BLOCK, _WINDOW = 8, 512  # pixels: side of JPEG's blocks, and of the part of the picture where they are looked for
_LINES = 128  # of that part that are looked at, in each direction

# The three highest frequencies of a cosine transform of eight values, (8, 3); what JPEG drops first.
_FREQUENCIES, _PLACES = np.arange(5, 8), np.arange(_BLOCK)
_HIGHEST = np.float32(0.5 * np.cos(np.pi * (_PLACES[:, None] + 0.5) * _FREQUENCIES / _BLOCK))


def picture_statistics(
    image: Image.Image,
    side: int,
    inside: np.ndarray | None = None,
    *,
    small: Image.Image | None = None,
    size: tuple[int, int] | None = None,
) -> dict[str, float]:
    """The numbers of one picture, by name.

    colour: log(1 + mean chroma), chroma being the largest minus the smallest channel of a pixel. red, blue: means of
    red minus green, and of blue minus the mean of the two. brightness, dark, light: mean, first and last eighth of
    luma. contrast: log of luma's standard deviation. detail, noise, edges: logs of the mean, the median and the 99 %
    quantile of luma's difference to its smoothed self. blocks: how clearly an 8 x 8 grid of JPEG shows. aspect: log of
    width to height. What is no logarithm is in grey levels, 0 to 255.

    Args:
        image: RGB, at its own size.
        side: of the square that it is scaled to, in pixels: the model's input size.
        inside: bool (side, side), the pixels of it that count; None: all. Blocks and aspect are always the picture's.
        small: the image at that size, where the caller has it; it takes longer to scale than the numbers take.
        size: (width, height) of its own, where the image was read reduced. JPEG's blocks, of which nothing is left
            then, count as not there.

    Example:
        >>> numbers = picture_statistics(Image.new("RGB", (64, 32), (200, 100, 100)), 32)
        >>> numbers["red"], round(numbers["aspect"], 2)
        (100.0, 0.69)
    """
    small = squashed(image, side) if small is None else small
    if inside is not None:  # nothing outside may show in the differences to the surroundings either
        small = Image.composite(small, Image.new("RGB", small.size, _PLAIN), Image.fromarray(inside))
    counted = slice(None) if inside is None else inside
    red, green, blue = (np.asarray(channel)[counted] for channel in small.split())
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    means = [float(channel.mean()) for channel in (red, green, blue)]
    luma = np.asarray(small.convert("L"))
    detail = np.abs(luma - _smoothed(luma))[counted].ravel()
    luma = luma[counted]
    places = [detail.size // 2, detail.size * 99 // 100]
    middle, sharpest = np.partition(detail, places)[places]
    width, height = size or image.size
    return {
        "colour": math.log1p(float(chroma.mean())),
        "red": means[0] - means[1],
        "blue": means[2] - (means[0] + means[1]) / 2,
        "brightness": float(luma.mean()),
        "dark": _quantile(luma, _SMALL_PART),
        "light": _quantile(luma, 1 - _SMALL_PART),
        "contrast": math.log(_FLOOR + float(luma.std())),
        "detail": math.log(_FLOOR + float(detail.mean())),
        "noise": math.log(_FLOOR + float(middle)),
        "edges": math.log(_FLOOR + float(sharpest)),
        "blocks": _blocks(image) if size is None or size == image.size else 0.0,
        "aspect": math.log(width / height),
    }


def _quantile(values: np.ndarray, share: float) -> float:
    """The quantile of 8-bit values, by counting."""
    counts = np.cumsum(np.bincount(values.ravel(), minlength=256))
    return float(np.searchsorted(counts, share * counts[-1]))


def _smoothed(luma: np.ndarray) -> np.ndarray:
    """float32, with the binomial filter 1 4 6 4 1 in both directions; borders repeat."""
    for _ in range(2):
        rows = len(luma)
        padded = np.pad(luma.astype(np.float32), ((2, 2), (0, 0)), mode="edge")
        near, far = padded[1 : rows + 1] + padded[3 : rows + 3], padded[:rows] + padded[4:]
        luma = ((6 * padded[2 : rows + 2] + 4 * near + far) / 16).T
    return luma


def _blocks(image: Image.Image) -> float:
    """How clearly JPEG's grid shows, in both directions: 0 where it does not, above 0.5 from about quality 80 on down.

    Within a block of JPEG the highest frequencies were dropped. Of the eight places where a grid can begin, the one
    with the weakest high frequencies is compared with the usual place; texture alone gives all of them the same.
    """
    width, height = image.size
    if min(width, height) < 2 * _BLOCK:
        return 0.0
    left, top = max(width - _WINDOW, 0) // 2, max(height - _WINDOW, 0) // 2
    window = image.crop((left, top, left + min(width, _WINDOW), top + min(height, _WINDOW))).convert("L")
    luma, found = np.asarray(window, dtype=np.float32), []
    for lines in (luma, luma.T):
        lines = lines[:: max(len(lines) // _LINES, 1)]
        blocks = (lines.shape[1] - _BLOCK + 1) // _BLOCK
        strength = [
            float(np.abs(lines[:, place : place + blocks * _BLOCK].reshape(-1, _BLOCK) @ _HIGHEST).mean()) + _FLOOR / 2
            for place in range(_BLOCK)
        ]
        found.append(math.log(float(np.median(strength)) / min(strength)))
    return sum(found) / 2
