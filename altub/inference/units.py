"""Scores and map values in a unit that people can read: how far from a typical good part, in good parts.

    anomaly score = (raw score - typical) / (most unusual - typical)

0 is a typical good part, 1 the most unusual good part that is known, 3 three times as far, without an end. The same for
a pixel: 0 is the typical pixel of good parts, 1 the highest value on any of them. What is stored stays raw; the unit
follows from the model's `Calibration`. It only shifts and scales, so orders, verdicts and p-values are those of the
raw values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

__all__ = ["Unit"]

T = TypeVar("T", float, np.ndarray)

SMALLEST_SPAN = 1e-9  # relative to the values: less is rounding


@dataclass(frozen=True)
class Unit:
    """A linear scale over raw values.

    Attributes:
        zero: raw value of 0.
        one: raw value of 1, above `zero`.

    Example:
        >>> unit = Unit(-0.5, -0.3)
        >>> round(unit.of(-0.1), 6), round(unit.raw(1.0), 6)
        (2.0, -0.3)
    """

    zero: float
    one: float

    @classmethod
    def between(cls, typical: float, most_unusual: float) -> Unit:
        """From `typical` (0) to `most_unusual` (1).

        Where the two are equal (a single held-out image, or all alike) nothing says how far good parts scatter: 1 is
        still the most unusual, and the scale is one raw unit long (longer where rounding would swallow that).
        """
        typical, most_unusual = float(typical), float(most_unusual)
        size = max(abs(typical), abs(most_unusual), 1.0)
        if most_unusual - typical > SMALLEST_SPAN * size:
            return cls(typical, most_unusual)
        return cls(most_unusual - max(1.0, SMALLEST_SPAN * size), most_unusual)

    def of(self, raw: T) -> T:
        """Raw values in this unit; float or array."""
        return (raw - self.zero) / (self.one - self.zero)

    def raw(self, value: T) -> T:
        """The inverse of `of`."""
        return self.zero + value * (self.one - self.zero)
