"""Between which values the numbers of a comparable picture lie, and the words for one that does not.

A limit is the most extreme value of the good images and a margin. The margin is half of what they spread, more where
they are few: of n images the next one lies outside with a chance of 2 / (n + 1), for each of a dozen numbers. It is at
least what a defect on a tenth of the picture may change, so that a large defect stays a defect, and images that were
all taken under the same lamp do not make the check too strict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

__all__ = ["STATISTICS", "Limit", "Statistic", "fit_limit"]

_TENTH = 16.0  # grey levels: a tenth of the picture, changed by 160 of 255
_GREY = 1.0  # mean chroma, grey levels: a picture below is grey


class Limit(BaseModel):
    """Between which values a number of a comparable picture lies (None: it has no bound on that side).

    typical: the median of the good images.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    low: float | None
    high: float | None
    typical: float

    def excludes(self, value: float) -> bool:
        """Is the value outside?"""
        return not ((self.low is None or value >= self.low) and (self.high is None or value <= self.high))


@dataclass(frozen=True)
class Statistic:
    """A number of a picture.

    Attributes:
        family: of several numbers of a family only the first that lies outside is told.
        below, above: the least margins, in the number's own unit; None: it has no limit on that side.
        words: the sentence for a value outside of its limit.
    """

    family: str
    below: float | None
    above: float | None
    words: Callable[[float, Limit], str]


def fit_limit(statistic: Statistic, values: Sequence[float]) -> Limit:
    """The limit by the numbers of good images, at least one."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    margin = (high - low) * (0.5 + 5 / len(ordered))
    return Limit(
        low=None if statistic.below is None else low - max(margin, statistic.below),
        high=None if statistic.above is None else high + max(margin, statistic.above),
        typical=ordered[len(ordered) // 2],
    )


def _colour(value: float, limit: Limit) -> str:
    chroma, typical = math.expm1(value), math.expm1(limit.typical)
    if value < limit.typical:
        how = "grey instead of colour" if chroma < _GREY else "paler"
    else:
        how = "colour instead of grey" if typical < _GREY else "more vivid"
    return f"Colour differs from training images: {how}"


def _shape(value: float, limit: Limit) -> str:
    return (
        f"Shape differs from training images: width to height {math.exp(value):.2g} instead of "
        f"{math.exp(limit.typical):.2g}"
    )


def _sides(what: str, lower: str, higher: str) -> Callable[[float, Limit], str]:
    return lambda value, limit: f"{what} from training images: {lower if value < limit.typical else higher}"


def _always(words: str) -> Callable[[float, Limit], str]:
    return lambda value, limit: words


def _brightness(margin: float, lower: str, higher: str) -> Statistic:
    return Statistic("brightness", margin, margin, _sides("Brightness differs", lower, higher))


def _sharpness(below: float, above: float | None, lower: str) -> Statistic:
    return Statistic("sharpness", below, above, _sides("Sharpness differs", lower, "more noise or detail"))


#: By the names of `picture_statistics`, in the order in which they are told; logs are natural ones.
STATISTICS: Mapping[str, Statistic] = {
    "aspect": Statistic("shape", 0.1, 0.1, _shape),
    "colour": Statistic("colour", 0.7, 1.4, _colour),  # half of the colour, or four times as much
    # More: a difference of channels goes from -255 to 255.
    "red": Statistic("colour", 1.5 * _TENTH, 1.5 * _TENTH, _sides("Colour differs", "less red", "more red")),
    "blue": Statistic("colour", 1.5 * _TENTH, 1.5 * _TENTH, _sides("Colour differs", "less blue", "more blue")),
    "brightness": _brightness(_TENTH, "darker", "brighter"),
    # More: a defect shifts a quantile by what its pixels leave of the others.
    "dark": _brightness(2 * _TENTH, "its dark parts are darker", "its dark parts are brighter"),
    "light": _brightness(2 * _TENTH, "its bright parts are darker", "its bright parts are brighter"),
    "contrast": Statistic("contrast", 0.35, 0.35, _sides("Contrast differs", "flatter", "stronger")),
    # The sharpest edges may be a defect's; only their absence says something of the picture.
    "edges": _sharpness(0.7, None, "blurred"),
    "detail": _sharpness(0.5, 0.7, "blurred"),
    "noise": _sharpness(0.7, 0.5, "blurred or smoothed"),
    "blocks": Statistic(
        "blocks",
        None,
        0.5,
        _always("Compression differs from training images: the blocks of a strongly compressed JPEG"),
    ),
}
