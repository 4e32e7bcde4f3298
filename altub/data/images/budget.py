"""How many pixels one process holds decoded at the same time, whoever asks for them.

An image of 100 million pixels takes 400 MB, and several of them at once would end the process. Each reader therefore
takes room for the time that it holds an image. Large images have room of their own, so that many of them in a row
do not keep the others waiting.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from altub.data.images.formats import LARGE_PIXELS
from altub.errors import ImageError

__all__ = ["BUDGET", "PixelBudget"]

LANE_PIXELS = 100_000_000  # held at a time in each lane; one larger image is held alone
WAITING = 12  # that may wait in a lane; a page's threads must not all end here
PATIENCE = 120.0  # seconds that one waits


class _Lane:
    """Room for pixels, given in the order of asking."""

    def __init__(self, pixels: int) -> None:
        self.pixels, self.held = pixels, 0
        self.waiting: deque[object] = deque()
        self.changed = threading.Condition()

    def take(self, pixels: int, most_waiting: int | None, patience: float) -> bool:
        """True once there is room; False where too many wait already, or it took too long."""
        ticket, until = object(), time.monotonic() + patience
        with self.changed:
            if most_waiting is not None and len(self.waiting) >= most_waiting:
                return False
            self.waiting.append(ticket)
            try:
                while not (self.waiting[0] is ticket and (self.held == 0 or self.held + pixels <= self.pixels)):
                    if not self.changed.wait(until - time.monotonic()) and time.monotonic() >= until:
                        return False
                self.held += pixels
                return True
            finally:
                self.waiting.remove(ticket)
                self.changed.notify_all()

    def give_back(self, pixels: int) -> None:
        with self.changed:
            self.held -= pixels
            self.changed.notify_all()


class PixelBudget:
    """Room for decoded pixels in two lanes: images of ordinary size, and those above `LARGE_PIXELS`.

    Args:
        pixels: of each lane. An image with more is let in when its lane is empty.
        waiting: large images that may wait; further ones are refused.
        patience: seconds that an image waits before it is refused.
    """

    def __init__(self, pixels: int = LANE_PIXELS, waiting: int = WAITING, patience: float = PATIENCE) -> None:
        self.waiting, self.patience = waiting, patience
        self._ordinary, self._large = _Lane(pixels), _Lane(pixels)
        self._thread = threading.local()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Waits for room and holds it for the length of the block. A thread that holds room already does not wait:
        it would wait for itself.

        Raises:
            ImageError: too many others wait, or none of them came to an end in time.
        """
        if getattr(self._thread, "holds", False):
            yield
            return
        large = pixels > LARGE_PIXELS
        lane = self._large if large else self._ordinary
        if not lane.take(pixels, self.waiting if large else None, self.patience):
            raise ImageError("Too many large images are being read at the moment: try again in a minute.")
        self._thread.holds = True
        try:
            yield
        finally:
            self._thread.holds = False
            if large:
                _return_freed_memory()
            lane.give_back(pixels)


def _return_freed_memory() -> None:
    """Gives back to the operating system what was freed; glibc keeps much of it for each thread, unused."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


#: The process's own.
BUDGET = PixelBudget()
