"""The limits of where a model looks, as dashed lines over a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["Outlined", "draw_limits"]

_DASH, _GAP = 1 / 90, 1 / 150  # of the image's width, as the page draws them
_COLOURS = {"inspect": (255, 255, 255), "ignore": (200, 200, 200)}
_SHADE = (70, 70, 70)  # in the gaps, so that the line is seen on bright parts too

Point = tuple[float, float]


class Outlined(Protocol):
    """A polygon: `altub.inference.regions.Region` is one."""

    @property
    def kind(self) -> str: ...

    @property
    def points(self) -> Sequence[Point]: ...


def draw_limits(image: Image.Image, regions: Sequence[Outlined]) -> None:
    """Draws the outline of every region, in place: white for "inspect", grey for "ignore"."""
    width, height = image.size
    draw = ImageDraw.Draw(image)
    stroke = max(1, round(1.5 * min(width, height) / 1000))
    for region in regions:
        corners = [(x * (width - 1), y * (height - 1)) for x, y in region.points]
        draw.line([*corners, corners[0]], fill=_SHADE, width=stroke)
        for start, end in _dashes(corners, max(2.0, width * _DASH), max(1.0, width * _GAP)):
            draw.line([start, end], fill=_COLOURS[region.kind], width=stroke)


def _dashes(corners: Sequence[Point], dash: float, gap: float) -> Iterator[tuple[Point, Point]]:
    for start, end in zip(corners, (*corners[1:], corners[0]), strict=True):
        begin, way = np.array(start), np.array(end) - np.array(start)
        length = float(np.hypot(*way))
        for at in np.arange(0, length, dash + gap):
            stop = min(at + dash, length)
            yield tuple(begin + way * (at / length)), tuple(begin + way * (stop / length))
