"""How an image of any size becomes input of the model's size: squashed, at its own aspect ratio, or cut into tiles.

An image is scaled to a canvas: a square of `image_size`, or with its aspect ratio kept a rectangle whose longer side is
`image_size`. The model sees the canvas through square windows: one that holds all of it, or tiles that overlap. What
the model says of the tiles is blended into one map of the canvas: in an overlap the weights of two tiles run linearly
from one to the other, so that no seam is left.

Windows begin at multiples of `GRID` pixels, where the features of a tile lie on the same grid as those of the whole
canvas. A canvas beyond `MAP_SIDE` has its map at half the size, a quarter and so on, so that memory stays bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from altub.data.images.tensors import to_tensor
from altub.inference.framing_settings import Aspect, HasFraming

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TILES_AT_A_TIME", "Frame", "Framing", "square"]

GRID = 32  # pixels; the coarsest stride of usual backbones
MAP_SIDE = 2048  # pixels of the longer side of a canvas's map, at most
TILES_AT_A_TIME = 8


@dataclass(frozen=True)
class Framing:
    """How images are shown to a model.

    Attributes:
        image_size: side of the canvas in pixels, or its longer one.
        tile: side of the windows; 0: one window for the whole canvas.
        overlap: pixels that neighbouring windows share.
        aspect: "squash" makes every canvas a square, "keep" keeps the image's aspect ratio.

    Example:
        >>> Framing(1024, tile=256, overlap=64, aspect="keep").frame((3000, 2000)).size
        (1024, 672)
    """

    image_size: int
    tile: int = 0
    overlap: int = 0
    aspect: Aspect = "squash"

    @classmethod
    def of(cls, settings: HasFraming, image_size: int | None = None) -> Framing:
        """That of a training or a detector, at another size where one is given."""
        found = cls(settings.image_size, settings.tile, settings.overlap, settings.aspect)
        return found if image_size is None else replace(found, image_size=image_size)

    @property
    def is_plain(self) -> bool:
        """Is every image squashed to the model's input, as a whole?"""
        return not self.tile and self.aspect == "squash"

    @property
    def side(self) -> int:
        """Of the model's input, in pixels."""
        return self.tile or self.image_size

    @property
    def map_side(self) -> int:
        """Side of the square maps on which metrics are computed."""
        return self.image_size // _shrink(self.image_size)

    def frame(self, size: tuple[int, int]) -> Frame:
        """The frame of an image of (width, height)."""
        grid = math.gcd(self.tile, GRID) if self.tile else 1
        longer = max(size)

        def scaled(side: int) -> int:
            wanted = self.image_size * (side / longer if self.aspect == "keep" else 1)
            return max(round(wanted / grid), 1) * grid

        step = max((self.tile - self.overlap) // grid, 1) * grid if self.tile else 0
        return Frame((scaled(size[0]), scaled(size[1])), self.side, step, self.overlap)


@dataclass(frozen=True)
class Frame:
    """The windows of one image.

    Attributes:
        size: (width, height) of the canvas.
        side: of a window. A canvas that is smaller is continued by its outermost pixels.
        step: pixels from one window to the next; 0: there is only one.
        overlap: pixels over which neighbours are blended.
    """

    size: tuple[int, int]
    side: int
    step: int = 0
    overlap: int = 0

    @cached_property
    def corners(self) -> list[tuple[int, int]]:
        """(left, top) of every window, row by row."""
        across, down = (self._starts(length) for length in self.size)
        return [(left, top) for top in down for left in across]

    @property
    def shrink(self) -> int:
        """Pixels of the canvas for one of its map, along a side."""
        return _shrink(max(self.size)) if self.step else 1

    def __len__(self) -> int:
        return len(self.corners)

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.side, 0)
        return [*range(0, last, self.step), last] if self.step else [0]

    def canvas(self, image: Image.Image) -> Image.Image:
        """An RGB image scaled to the canvas."""
        return image if image.size == self.size else image.resize(self.size, Image.Resampling.BILINEAR)

    def tile(self, canvas: Image.Image, index: int) -> Tensor:
        """(3, side, side) float32 in [0, 1]."""
        left, top = self.corners[index]
        cut = canvas.crop((left, top, min(left + self.side, self.size[0]), min(top + self.side, self.size[1])))
        if cut.size != (self.side, self.side):
            pixels = np.asarray(cut, np.uint8)
            missing = [(0, self.side - length) for length in pixels.shape[:2]]
            cut = Image.fromarray(np.pad(pixels, [*missing, (0, 0)], mode="edge"))
        return to_tensor(cut, self.side)

    def tiles(self, image: Image.Image, together: int = TILES_AT_A_TIME) -> Iterator[Tensor]:
        """All windows of an RGB image in order, (n, 3, side, side) at most `together` at a time."""
        canvas = self.canvas(image)
        for start in range(0, len(self), together):
            yield torch.stack([self.tile(canvas, index) for index in range(start, min(start + together, len(self)))])

    def joined(self, maps: Iterable[Tensor]) -> Tensor:
        """The maps (n, K, side / shrink, side / shrink) of all windows in order as one (K, h, w) of the canvas."""
        shrink, (width, height) = self.shrink, self.size
        total = weights = None
        corners = iter(self.corners)
        for batch in maps:
            if total is None:
                wide, high = max(width, self.side) // shrink, max(height, self.side) // shrink
                total = batch.new_zeros(batch.shape[1], high, wide)
                weights = batch.new_zeros(high, wide)
            for values, (left, top) in zip(batch, corners, strict=False):
                down, across = self._ramp(top, height, batch), self._ramp(left, width, batch)
                weight = down[:, None] * across
                rows, columns = (slice(at // shrink, (at + self.side) // shrink) for at in (top, left))
                total[:, rows, columns] += values * weight
                weights[rows, columns] += weight
        return (total / weights)[:, : height // shrink, : width // shrink]

    def _ramp(self, start: int, length: int, like: Tensor) -> Tensor:
        """Weights along one side of the window at `start`: rising and falling where it has neighbours."""
        count, over = self.side // self.shrink, self.overlap // self.shrink
        weight = like.new_ones(count)
        rise = (torch.arange(over, device=like.device, dtype=like.dtype) + 0.5) / max(over, 1)
        if over and start > 0:
            weight[:over] = rise
        if over and start + self.side < length:
            weight[count - over :] = rise.flip(0)
        return weight


def square(values: Tensor, side: int) -> Tensor:
    """Maps (N, h, w) at (N, side, side), for metrics over images of several shapes."""
    if values.shape[1:] == (side, side):
        return values
    return F.interpolate(values[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]


def _shrink(longest: int) -> int:
    return 1 << max(math.ceil(math.log2(longest / MAP_SIDE)), 0)
