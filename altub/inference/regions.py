"""Regions of the image that a model looks at or looks away from: polygons drawn once, in fractions of the image.

They are settings of the training and part of the model. Where the model does not look, its maps take the image's lowest
value from where it does, before they are smoothed and scored. So nothing there can raise a score, be marked or be seen
in the heatmap; thresholds come from held-out images that were treated alike.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from altub.errors import ConfigError, validation_problem
from altub.files import printable

__all__ = ["MOST_REGIONS", "Region", "Regions", "inspected_pixels", "kept_pixels", "read_regions"]

MOST_REGIONS = 64
MOST_POINTS = 400  # of one polygon
SMALLEST_SHARE = 0.001  # of the image that must be left to look at

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Region(BaseModel):
    """A polygon. kind: look only in here, or ignore it. points: corners (x, y), from (0, 0) top left to (1, 1).

    Example:
        >>> Region(kind="ignore", points=[(0, 0), (0.2, 0), (0.2, 0.1), (0, 0.1)]).kind
        'ignore'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["inspect", "ignore"]
    points: tuple[tuple[Fraction, Fraction], ...] = Field(min_length=3, max_length=MOST_POINTS)

    @field_validator("points")
    @classmethod
    def _has_an_area(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        following = (*points[1:], points[0])
        if len(set(points)) < 3 or not any(
            (x1, y1) != (x2, y2) for (x1, y1), (x2, y2) in zip(points, following, strict=True)
        ):
            raise ValueError("a region has at least three different corners")
        return points


#: The regions of a model, in any order; none: it looks everywhere.
Regions = Annotated[tuple[Region, ...], Field(max_length=MOST_REGIONS)]


def inspected_pixels(regions: Sequence[Region], height: int, width: int) -> np.ndarray:
    """Where a model looks, bool (H, W): in any region to inspect (everywhere if there is none), but in none to ignore.

    A pixel belongs to the polygons that its centre lies in (even-odd rule).

    Raises:
        ConfigError: the regions leave next to nothing.

    Example:
        >>> half = Region(kind="inspect", points=[(0, 0), (0.5, 0), (0.5, 1), (0, 1)])
        >>> inspected_pixels([half], 2, 4).astype(int).tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    wanted = [region for region in regions if region.kind == "inspect"]
    inside = np.full((height, width), not wanted)
    for region in wanted:
        inside |= _filled(region, height, width)
    for region in regions:
        if region.kind == "ignore":
            inside &= ~_filled(region, height, width)
    if inside.sum() < max(1, SMALLEST_SHARE * inside.size):
        raise ConfigError("The regions leave nothing to inspect: make them larger, or ignore less.")
    return inside


@lru_cache(maxsize=16)
def kept_pixels(regions: tuple[Region, ...], height: int, width: int) -> np.ndarray:
    """`inspected_pixels`, computed once and not to be written to: for what is asked at every image."""
    inside = inspected_pixels(regions, height, width)
    inside.setflags(write=False)
    return inside


def _filled(region: Region, height: int, width: int) -> np.ndarray:
    ys, xs = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    inside = np.zeros((height, width), bool)
    corners = region.points
    for (x1, y1), (x2, y2) in zip(corners, (*corners[1:], corners[0]), strict=True):
        if y1 == y2:
            continue
        crosses = (y1 > ys) != (y2 > ys)
        at = x1 + (ys - y1) / (y2 - y1) * (x2 - x1)
        inside ^= crosses[:, None] & (xs[None] < at[:, None])
    return inside


def read_regions(file: str | Path) -> tuple[Region, ...]:
    """Regions from a JSON file: a list of {"kind": "inspect" or "ignore", "points": [[x, y], ...]} in fractions.

    Raises:
        ConfigError: it cannot be read, or has no such list.
    """
    name = printable(str(file))
    try:
        values = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"The regions in {name} cannot be read: give a JSON file.") from error
    try:
        return tuple(TypeAdapter(Regions).validate_python(values))
    except ValidationError as error:
        raise ConfigError(
            f"{name} has no regions: {validation_problem(error)}. A region is "
            '{"kind": "ignore", "points": [[0, 0], [0.2, 0], [0.2, 0.1]]}.'
        ) from error
