"""Five kinds of synthetic defects; each is one function of an image and a random generator.

Images are float32 (H, W, 3) in [0, 1]. All functions give a new image and the mask of the pixels that were changed,
lie on the part as far as it can be told (`find_part`), and are determined by the generator. `contrast` is the mean
absolute change over the mask's pixels and channels; where there is no room to 0 and 1 it is smaller (`contrast_of`).

Cut-and-paste pieces are those of C.-L. Li et al., "CutPaste", CVPR 2021 (arXiv:2104.04015); patches of gradient noise
those of V. Zavrtanik et al., "DRAEM", ICCV 2021 (arXiv:2108.07610).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from altub.data.synthetic.noise import gradient_noise
from altub.data.synthetic.part import find_part
from altub.data.synthetic.shapes import Shape, blob, stroke
from altub.errors import DataError

__all__ = [
    "DEFECT_KINDS",
    "Drawn",
    "contrast_of",
    "draw_colour_drift",
    "draw_cut_paste",
    "draw_defect",
    "draw_scratch",
    "draw_spot",
    "draw_texture",
]

#: Names of the kinds, as `draw_defect` takes them.
DEFECT_KINDS = ("scratch", "spot", "cut-paste", "colour", "texture")

ASPECT, LONGEST = 12.0, 0.8  # length of a scratch whose area alone is given: in widths; at most, in image sides
SOURCES = 12  # places that a piece may be cut from
SCALED = 3  # times that a change is scaled to its contrast
LARGEST = 0.5  # share of the part that a defect may cover


class Drawn(NamedTuple):
    """An image with a defect.

    Attributes:
        image: float32 (H, W, 3) in [0, 1].
        mask: bool (H, W), its pixels.
    """

    image: np.ndarray
    mask: np.ndarray


def draw_defect(
    kind: str,
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    area: float,
    contrast: float,
    part: np.ndarray | None = None,
    donor: np.ndarray | None = None,
) -> Drawn:
    """A defect of a kind by its area alone, so that kinds can be compared.

    Args:
        kind: one of `DEFECT_KINDS`.
        image: float32 (H, W, 3) in [0, 1]; it is not changed.
        rng: everything that is random.
        area: pixels, at least 1 and at most half of the part; the mask has exactly round(area).
        contrast: above 0, up to 1.
        part: bool (H, W), where the defect may lie; None: `find_part(image)`.
        donor: another good image (H', W', 3) to cut pieces from; None: this one.

    Raises:
        DataError: no such kind, or a size or contrast out of range.

    Example:
        >>> grey = np.full((64, 64, 3), 0.5, np.float32)
        >>> drawn = draw_defect("spot", grey, np.random.default_rng(0), area=50, contrast=0.2)
        >>> int(drawn.mask.sum()), round(contrast_of(grey, drawn), 3)
        (50, 0.2)
    """
    part = find_part(image) if part is None else part
    if kind == "scratch":
        length = min(math.sqrt(ASPECT * area), LONGEST * max(part.shape))  # a larger one is wider
        width = max(area / length, 1.0)
        return draw_scratch(image, rng, length=area / width, width=width, contrast=contrast, part=part)
    if kind == "cut-paste":
        return draw_cut_paste(image, rng, area=area, contrast=contrast, part=part, donor=donor)
    if kind not in _BLOBS:
        raise DataError(f"There is no synthetic defect {kind!r}: choose from {', '.join(DEFECT_KINDS)}.")
    return _BLOBS[kind](image, rng, area=area, contrast=contrast, part=part)


def draw_scratch(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    length: float,
    width: float,
    contrast: float,
    part: np.ndarray | None = None,
) -> Drawn:
    """A curved line of `length * width` pixels, brighter or darker; see `draw_defect`."""
    part = _checked(image, part, length * width, contrast)
    if width < 1 or length > max(part.shape):
        raise DataError(f"A scratch is at least 1 pixel wide and at most {max(part.shape)} long.")
    shape = stroke(part, rng, length, width)
    return _add(image, shape, _shade(rng) * shape.weight[..., None], contrast, rng)


def draw_spot(
    image: np.ndarray, rng: np.random.Generator, *, area: float, contrast: float, part: np.ndarray | None = None
) -> Drawn:
    """An irregular blot of one shade, brighter or darker; see `draw_defect`."""
    shape = blob(_checked(image, part, area, contrast), rng, round(area))
    return _add(image, shape, _shade(rng) * shape.weight[..., None], contrast, rng)


def draw_colour_drift(
    image: np.ndarray, rng: np.random.Generator, *, area: float, contrast: float, part: np.ndarray | None = None
) -> Drawn:
    """A stain that changes the colour and hardly the brightness, and fades towards its rim; see `draw_defect`."""
    shape = blob(_checked(image, part, area, contrast), rng, round(area), softness=0.8)
    angle = rng.uniform(0, 2 * np.pi)
    # Across the grey axis: the three channels of a hue have sum 0.
    hue = np.cos(angle + np.array([0, 2, 4]) * np.pi / 3).astype(np.float32)
    return _add(image, shape, hue * shape.weight[..., None], contrast, rng)


def draw_texture(
    image: np.ndarray, rng: np.random.Generator, *, area: float, contrast: float, part: np.ndarray | None = None
) -> Drawn:
    """A patch of gradient noise on top of the image; see `draw_defect`."""
    shape = blob(_checked(image, part, area, contrast), rng, round(area), softness=0.2)
    noise = gradient_noise(shape.weight.shape, rng, cell=float(np.clip(math.sqrt(area) / 3, 2, 16)), octaves=2)
    return _add(image, shape, (noise * shape.weight)[..., None] * _shade(rng), contrast, rng)


def draw_cut_paste(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    area: float,
    contrast: float,
    part: np.ndarray | None = None,
    donor: np.ndarray | None = None,
) -> Drawn:
    """A piece from elsewhere, of this image or of a donor, turned by quarters; see `draw_defect`.

    Of some random places the first is taken whose piece differs enough; it is blended such that the contrast is the
    wished one. Where no piece differs as much (a plain part), the most different one is pasted as it is.
    """
    part = _checked(image, part, area, contrast)
    shape = blob(part, rng, round(area), softness=0.05)
    donor = image if donor is None else donor
    inside, target = shape.inside, image[shape.window]
    best, difference = None, 0.0
    for _ in range(SOURCES):
        piece = _piece(donor, inside.shape, rng)
        found = float(np.abs(piece - target)[inside].mean())
        if best is None or found > difference:
            best, difference = piece, found
        if difference >= contrast:
            break
    gain = min(contrast / max(difference, 1e-6), 1.0)
    drawn = image.copy()
    drawn[shape.window] = np.where(inside[..., None], target + gain * (best - target), target)
    return Drawn(drawn, shape.mask(image.shape[:2]))


def contrast_of(image: np.ndarray, drawn: Drawn) -> float:
    """Mean absolute change over the mask's pixels and channels."""
    return float(np.abs(drawn.image[drawn.mask] - image[drawn.mask]).mean())


_BLOBS = {"spot": draw_spot, "colour": draw_colour_drift, "texture": draw_texture}


def _checked(image: np.ndarray, part: np.ndarray | None, area: float, contrast: float) -> np.ndarray:
    """The part, where the wish can be fulfilled."""
    part = find_part(image) if part is None else part
    if not 1 <= round(area) <= LARGEST * part.sum():
        raise DataError(f"A defect of {area:.0f} pixels does not fit: 1 to {LARGEST * part.sum():.0f} do here.")
    if not 0 < contrast <= 1:
        raise DataError(f"A contrast is above 0 and at most 1, not {contrast:g}.")
    return part


def _shade(rng: np.random.Generator) -> np.ndarray:
    """A shade (3,) of grey, slightly coloured."""
    return rng.uniform(0.8, 1.2, 3).astype(np.float32)


def _add(image: np.ndarray, shape: Shape, change: np.ndarray, contrast: float, rng: np.random.Generator) -> Drawn:
    """The image plus or minus this change (h, w, 3), scaled to the contrast: by chance, or where there is more room."""
    before, inside = image[shape.window], shape.inside
    change = change * np.float32(contrast / max(float(np.abs(change[inside]).mean()), 1e-6))
    lost = [float(np.abs(moved - moved.clip(0, 1)).sum()) for moved in (before + change, before - change)]
    sign = rng.choice((-1, 1))
    if max(lost) > 0.1 * float(np.abs(change).sum()):
        sign = 1 if lost[0] <= lost[1] else -1
    change *= np.float32(sign)
    after = np.clip(before + change, 0, 1)
    for _ in range(SCALED):  # what is cut off at 0 and 1 is made up for elsewhere
        change *= np.float32(contrast / max(float(np.abs(after - before)[inside].mean()), 1e-6))
        after = np.clip(before + change, 0, 1)
    drawn = image.copy()
    drawn[shape.window] = np.where(inside[..., None], after, before)
    return Drawn(drawn, shape.mask(image.shape[:2]))


def _piece(donor: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random piece (h, w, 3), turned by 0 to 3 quarters; a small donor is continued by its mirror image."""
    quarters = int(rng.integers(4))
    height, width = size if quarters % 2 == 0 else size[::-1]
    missing = [(0, max(want - have, 0)) for want, have in zip((height, width), donor.shape[:2], strict=True)]
    if any(after for _, after in missing):
        donor = np.pad(donor, (*missing, (0, 0)), mode="symmetric")
    row, column = (int(rng.integers(have - want + 1)) for have, want in zip(donor.shape, (height, width), strict=False))
    return np.rot90(donor[row : row + height, column : column + width], quarters)
