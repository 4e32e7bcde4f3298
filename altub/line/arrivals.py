"""Files that arrive in a watched folder and are complete.

A camera writes a file over some time, and a network share tells nobody. A file counts as complete once two looks, a
second apart, find the same size and time; the operating system's notices (through `watchfiles`, where it is installed)
only make the next look come sooner. Polling alone works everywhere.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from altub.data import is_image_file
from altub.data.category import is_hidden
from altub.line.journal import Arrival

__all__ = ["Arrivals"]

SETTLE_SECONDS = 1.0
POLL_SECONDS = 1.0
LONG = 10  # times the settling time
QUEUED = 1000  # complete files that are remembered between two looks


class Arrivals:
    """Looks into a folder and those below it.

    Args:
        folder: to watch.
        skip: a folder below it that is left out, such as the output.
        knows: says whether a file was handled before.
    """

    def __init__(self, folder: Path, skip: Path, knows: Callable[[Arrival], bool], *, settle: float = SETTLE_SECONDS):
        self.folder, self.skip, self.knows, self.settle = folder, skip.resolve(), knows, settle
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}  # unsettled files: what was found, and when first
        self._queue: deque[Arrival] = deque()
        self._unsettled = False
        self._notices = _notices()

    def ready(self, most: int) -> tuple[list[Arrival], bool]:
        """Complete files that were not handled, the oldest first and at most so many; and whether others are to come.

        Memory is taken for files that are not complete yet and for `QUEUED` that are, not for those that were handled.
        """
        if not self._queue:
            self._look()
        found: list[Arrival] = []
        while self._queue and len(found) < most:
            arrival = self._queue.popleft()
            if arrival.is_unchanged():
                found.append(arrival)
        return found, bool(self._queue) or self._unsettled

    def _look(self) -> None:
        now, seen = time.monotonic(), {}

        def complete() -> Iterator[Arrival]:
            for arrival in self._files():
                if self.knows(arrival):
                    continue
                key = (arrival.size, arrival.modified)
                earlier, since = self._seen.get(arrival.name, (key, now))
                since = since if earlier == key else now
                # A file that nobody has written to for long is complete at the first look.
                age = time.time() - arrival.modified / 1e9
                if arrival.size > 0 and (now - since >= self.settle or age >= LONG * self.settle):
                    yield arrival
                else:
                    seen[arrival.name] = (key, since)

        oldest = heapq.nsmallest(QUEUED, complete(), key=lambda arrival: (arrival.modified, arrival.name))
        self._queue, self._seen = deque(oldest), seen
        # An empty file may be one that is about to be written; after a while nobody waits for it.
        self._unsettled = len(oldest) == QUEUED or any(
            size > 0 or now - since < LONG * self.settle for (size, _), since in seen.values()
        )

    def _files(self) -> Iterator[Arrival]:
        for parent, folders, files in os.walk(self.folder):
            here = Path(parent)
            folders[:] = sorted(
                name for name in folders if not is_hidden(here / name) and (here / name).resolve() != self.skip
            )
            for name in files:
                path = here / name
                if is_hidden(path) or not is_image_file(name):
                    continue
                try:
                    found = path.lstat()
                except OSError:  # gone between the two calls
                    continue
                if os.path.isfile(path) and not os.path.islink(path):  # no pipe, and no link to somewhere else
                    relative = path.relative_to(self.folder).as_posix()
                    yield Arrival(path, relative, found.st_size, found.st_mtime_ns)

    def wait(self, should_stop: Callable[[], bool]) -> None:
        """Until something may have changed: a notice of the operating system, or a second."""
        if self._notices is None:
            _sleep(POLL_SECONDS, should_stop)
            return
        try:
            wait_ms = round(1000 * POLL_SECONDS)
            watch = self._notices.watch(self.folder, yield_on_timeout=True, rust_timeout=wait_ms, raise_interrupt=False)
            next(watch, None)
        except (OSError, RuntimeError):  # no notices here (watches used up, a share that went away): poll
            self._notices = None


def _notices() -> ModuleType | None:
    """The package of the extra `watch`, where it is installed."""
    try:
        return import_module("watchfiles")
    except ImportError:
        return None


def _sleep(seconds: float, should_stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not should_stop():
        time.sleep(0.05)
