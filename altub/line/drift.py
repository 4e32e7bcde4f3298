"""Does the line still look as it did when the model came into use? A watch over the inspected images, with an alarm.

    watch = DriftWatch()
    for values in line:                      # in the order of inspection
        watch.add(values)
    watch.alarm                              # None, or what moved and since when

Six streams of numbers are watched, each by a martingale at a sixth of the level, so that the level holds for all of
them together (`altub.line.martingale`): the chance that a line that does not change ever gives an alarm. The watch
compares the line with itself since the model version came into use; that it differs from the training images is what
p-values and rejected parts show.

Defects must not set it off. Where they come at a constant rate they do not: the order of the images is then as random
as before. For bursts of them, scores are watched of images below the threshold only, and the other streams are numbers
that a defect hardly changes. What this costs: a change that lifts scores so far that images are rejected is
not seen in the scores but in the median of the map, and a defect that covers half of the image counts as a change.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from altub.errors import ConfigError
from altub.line.martingale import ConformalRanks, SimpleJumper

__all__ = ["DEFAULT_LEVEL", "STREAMS", "Alarm", "DriftWatch", "Stream"]

DEFAULT_LEVEL = 0.01
#: Stream -> what a person reads.
STREAMS: dict[str, str] = {
    "score": "the score of good images",
    "background": "the anomaly of the whole image",
    "brightness": "the brightness",
    "red_blue": "the colour (red against blue)",
    "green": "the colour (green against the rest)",
    "sharpness": "the sharpness",
}
OF_THE_MODEL = ("score", "background")  # streams that follow what moves in the picture
EVIDENT = 0.5  # share of the logarithm of the capital that gives an alarm
CLEAR = 1.0  # robust standard deviations
RECENT = 20  # images whose median is what a stream moved to
MOST = 200_000  # numbers that a stream is ranked among; after so many images it starts anew


@dataclass(frozen=True)
class Alarm:
    """What moved.

    Attributes:
        stream: a key of `STREAMS`: of those with evidence of a change the one that moved furthest, a number of the
            picture itself before one of the model's.
        image: how many images were inspected when it was noticed.
        before, now: median of the stream before its last images, and of these.
        level: chance of such an alarm on a line that does not change.
    """

    stream: str
    image: int
    before: float
    now: float
    level: float

    def sentence(self) -> str:
        """For a person."""
        went = "rose" if self.now > self.before else "fell"
        return (
            f"The line has changed: {STREAMS[self.stream]} {went} from {self.before:.4g} to {self.now:.4g} (noticed at "
            f"image {self.image:,}; on an unchanged line at most {100 * self.level:g} % of such watches ever give an "
            "alarm). Check the parts, and adapt the model if they are good."
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"sentence": self.sentence()}


class Stream:
    """One stream of numbers and the capital of the player who bets on its change."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._restart()
        self.capital = 0.0  # its logarithm; he starts with 1
        self.highest = 0.0  # of the largest capital that there ever was

    def _restart(self) -> None:
        self._ranks, self._jumper = ConformalRanks(self._seed), SimpleJumper()
        self._recent: deque[float] = deque(maxlen=RECENT)

    def add(self, value: float) -> float:
        """The logarithm of the capital after one more number."""
        if len(self._ranks) >= MOST:
            self._restart()
        self._recent.append(value)
        self.capital = float(self._jumper.bet(self._ranks.p_value(value)))
        self.highest = max(self.highest, self.capital)
        return self.capital

    @property
    def count(self) -> int:
        """How many numbers it is ranked among."""
        return len(self._ranks)

    def medians(self) -> tuple[float, float]:
        """Of the numbers before the last ones, and of these."""
        recent = list(self._recent)
        before = self._ranks.values
        for value in recent:  # all of them are in there
            before.pop(bisect_left(before, value))
        return float(np.median(before or recent)), float(np.median(recent))

    def step(self) -> float:
        """How far the last numbers are from those before, in robust standard deviations of all numbers."""
        before, now = self.medians()
        values = np.array(self._ranks.values)
        spread = 1.4826 * float(np.median(np.abs(values - before)))
        return abs(now - before) / max(spread, 1e-9 * max(abs(before), 1.0))


class DriftWatch:
    """Watches the numbers of inspected images, in order. The same numbers give the same alarm again.

    Args:
        level: chance of ever giving an alarm on a line that does not change.

    Raises:
        ConfigError: the level is not between 0 and 1.

    Example:
        >>> watch, noise = DriftWatch(level=0.01), np.random.default_rng(0)
        >>> for index in range(300):
        ...     watch.add({"brightness": noise.normal() + (3 if index >= 200 else 0)})
        >>> watch.alarm.stream, 200 < watch.alarm.image < 240
        ('brightness', True)
    """

    def __init__(self, level: float = DEFAULT_LEVEL) -> None:
        if not 0 < level < 1:
            raise ConfigError(f"The level of the drift alarm is {level:g}: it must lie between 0 and 1, such as 0.01.")
        self.level = level
        self.images = 0
        self.alarm: Alarm | None = None
        self.streams = {name: Stream(seed) for seed, name in enumerate(STREAMS)}
        self.limit = math.log(len(STREAMS) / level)  # of a stream's logarithm of the capital

    def add(self, values: Mapping[str, float | None], *, is_good: bool = True) -> Alarm | None:
        """One more image; returns the alarm if there is one by now.

        Args:
            values: numbers by the names of `STREAMS`; one that is missing or not finite is left out.
            is_good: the score is below the threshold; else it is not watched.
        """
        self.images += 1
        crossed = []
        for name, stream in self.streams.items():
            value = values.get(name)
            if value is None or not math.isfinite(value) or (name == "score" and not is_good):
                continue
            if stream.add(float(value)) >= self.limit:
                crossed.append(name)
        if crossed and self.alarm is None:
            moved = self._moved(crossed)
            self.alarm = Alarm(moved, self.images, *self.streams[moved].medians(), self.level)
        return self.alarm

    def _moved(self, crossed: Sequence[str]) -> str:
        """Which stream an alarm names that these ones gave."""
        evident = [name for name, stream in self.streams.items() if stream.capital >= EVIDENT * self.limit] or crossed
        steps = {name: self.streams[name].step() for name in evident}
        own = [name for name, step in steps.items() if name not in OF_THE_MODEL and step >= CLEAR]
        return max(own or evident, key=steps.__getitem__)

    def replay(self, images: Iterable[tuple[Mapping[str, float | None], bool]]) -> Alarm | None:
        """`add` of many images: (values, is_good) each."""
        for values, is_good in images:
            self.add(values, is_good=is_good)
        return self.alarm

    @property
    def evidence(self) -> float:
        """From 0 (none) to 1 (alarm): the logarithm of the largest capital as a share of what gives an alarm."""
        return min(max(stream.highest for stream in self.streams.values()) / self.limit, 1.0)
