"""The drift watch over the inspection log of one model: what was inspected so far, kept up to date cheaply.

    history = DriftHistory(log, model=weights_sha256)
    history.update()                       # what was logged since the last look
    history.watch.alarm, history.points

An image that was inspected before (by its content) counts once: inspecting it again tells nothing of the line.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass

from altub.labels.inspections import Inspection, InspectionLog
from altub.line.drift import DEFAULT_LEVEL, STREAMS, DriftWatch

__all__ = ["MOST", "DriftHistories", "DriftHistory", "Point"]

MOST = 20_000  # inspections; a longer log is watched from its last ones on
SHOWN = 1000  # points that are kept
KEPT = 8  # histories


@dataclass(frozen=True)
class Point:
    """An image of a history.

    Attributes:
        number: from 1 on; `Alarm.image` counts the same.
        score, threshold: raw; the threshold is the one at the time.
        capital: by stream, its logarithm after this image.
    """

    number: int
    name: str
    verdict: str
    score: float | None
    threshold: float | None
    capital: dict[str, float]
    at: float

    @property
    def is_rejected(self) -> bool:
        return self.score is not None and self.threshold is not None and self.score > self.threshold


class DriftHistory:
    """The inspections by one model, in order, and the watch over them.

    Args:
        model: SHA-256 of its weights.
        source: only what this source inspected; None: all.
        level: of the alarm.

    Attributes:
        watch: the martingales.
        points: the last images.
        images, rejected: how many there were, and how many of them above the threshold.
        began: when a person let the watch begin anew; None: nobody did.
    """

    def __init__(self, log: InspectionLog, model: str, source: str | None = None, level: float = DEFAULT_LEVEL) -> None:
        self.log, self.model, self.source = log, model, source
        self.watch = DriftWatch(level)
        self.points: deque[Point] = deque(maxlen=SHOWN)
        self.images = self.rejected = 0
        self._seen: set[str] = set()
        first, self.began = log.began(model)
        self._last = max(first, log.last_rows(model, MOST))
        self._first = first

    @property
    def is_outdated(self) -> bool:
        """Did a person let the watch begin anew meanwhile?"""
        return self.log.began(self.model)[0] != self._first

    def update(self) -> bool:
        """Watches what was logged since; was there anything?"""
        before = self._last
        while found := self.log.of_model(self.model, self._last, self.source):
            for _, one in found:
                self._add(one)
            self._last = found[-1][0]
        return self._last != before

    def _add(self, one: Inspection) -> None:
        if one.sha256 is None or one.sha256 in self._seen:  # unreadable, or known
            return
        self._seen.add(one.sha256)
        values = {"score": one.score, **(one.statistics or {})}
        point = Point(
            self.images + 1,
            one.name,
            one.verdict,
            one.score,
            one.threshold,
            {},
            one.at,
        )
        self.watch.add(values, is_good=not point.is_rejected)
        point.capital.update({name: self.watch.streams[name].capital for name in STREAMS})
        self.images += 1
        self.rejected += point.is_rejected
        self.points.append(point)


class DriftHistories:
    """The histories that a page's visitors look at; safe to use from many threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str | None], DriftHistory] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, log: InspectionLog, model: str, source: str | None = None) -> DriftHistory:
        """The history of a model, up to date.

        Raises:
            LabelError: the log is damaged.
        """
        with self._lock:
            history = self._kept.pop((model, source), None)
            if history is None or history.is_outdated:
                history = DriftHistory(log, model, source)
            history.update()
            self._kept[model, source] = history
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return history
