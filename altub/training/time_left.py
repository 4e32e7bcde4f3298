"""How long a training still takes: an estimated end that is counted down to, revised after whole epochs.

Within an epoch the pace of the steps says little, as evaluation and saving come at its end: an estimate from the steps
alone would rise and fall with every epoch.
"""

from __future__ import annotations

__all__ = ["TimeLeft"]

WEIGHT = 0.4  # of the newest epoch in the pace
FIRST_WEIGHT = 0.1  # of the newest step, before an epoch has ended


class TimeLeft:
    """Seconds until the last step, from steps and epochs as they are done.

    Args:
        done: steps that were done before.
        in_all: steps of the whole training.
        now: seconds of any steady clock, as in the methods.

    Example:
        >>> left = TimeLeft(0, 20, now=0.0)
        >>> left.step(1, now=1.0), left.step(2, now=2.0)
        (19.0, 18.0)
    """

    def __init__(self, done: int, in_all: int, now: float) -> None:
        self._in_all = in_all
        self._epoch_done, self._epoch_at = done, now
        self._pace: float | None = None  # seconds a step, evaluation included
        self._end: float | None = None

    def step(self, done: int, now: float) -> float:
        """After a step."""
        if self._pace is None and done > self._epoch_done:
            pace = (now - self._epoch_at) / (done - self._epoch_done)
            end = now + pace * (self._in_all - done)
            self._end = end if self._end is None else self._end + FIRST_WEIGHT * (end - self._end)
        return self._left(now)

    def epoch(self, done: int, now: float) -> float:
        """After an epoch with all that belongs to it."""
        if done > self._epoch_done:
            pace = (now - self._epoch_at) / (done - self._epoch_done)
            self._pace = pace if self._pace is None else self._pace + WEIGHT * (pace - self._pace)
            self._end = now + self._pace * (self._in_all - done)
        self._epoch_done, self._epoch_at = done, now
        return self._left(now)

    def _left(self, now: float) -> float:
        return 0.0 if self._end is None else max(self._end - now, 0.0)
