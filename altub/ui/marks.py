"""What a page shows already, so that a look at something sends only what has changed.

The answers of two looks may reach a page in the other order, or one never; what is left out of an answer cannot make
up for that. So every answer carries a number, which the page gives back with its next look: what was sent in an answer
after the last one that arrived is sent once more.

Where a look answers with all or nothing, a stamp in the page itself is enough: it arrives with what it was taken of,
and the next look sees which that is.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

__all__ = ["Sent", "Updates", "stamp", "stamp_field"]

# From the clock: a page that stays open while its server is started anew knows smaller numbers alone.
_NUMBERS = itertools.count(time.time_ns() // 1_000_000)


@dataclass(frozen=True)
class Sent:
    """A part of a page as it was sent last. mark: what it was drawn from. number: of the answer. choice: the visitor's
    part of the mark, where drawing waits (`Updates.put_calmly`). at: seconds of the monotonic clock."""

    mark: str
    number: int
    choice: str
    at: float


class Updates:
    """Collects the updates of those parts that a page does not show as they are now.

    Args:
        marks: part -> how it was sent last; left as it is.
        arrived: number of the last answer that the page has drawn, as the page says (so anything may be in it).

    Attributes:
        marks: those of before with what is sent now; to be kept for the next look.
        updates: part -> its update.
        number: of this answer.
    """

    def __init__(self, marks: dict[str, Sent], arrived: object) -> None:
        self.marks, self.updates = dict(marks), {}
        self.arrived = arrived if isinstance(arrived, int) else 0
        self.number = next(_NUMBERS)

    def put(self, part: str, mark: Any, make: Callable[[], Any], choice: Any = None) -> None:
        """Adds `make()` as the update of `part` unless the page shows what was drawn from an equal mark."""
        mark, sent = repr(mark), self.marks.get(part)
        if sent is None or sent.mark != mark or sent.number > self.arrived:
            self.marks[part] = Sent(mark, self.number, repr(choice), time.monotonic())
            self.updates[part] = make()

    def put_calmly(self, part: str, choice: Any, state: Any, make: Callable[[], Any], *, patience: float) -> None:
        """The same for what takes long to draw: with an equal choice a new `state` waits for `patience` seconds."""
        sent = self.marks.get(part)
        if sent is None or sent.choice != repr(choice) or time.monotonic() - sent.at >= patience:
            self.put(part, (choice, state), make, choice)


def stamp(*shown: object) -> list[str]:
    """Equal for what looks equal: to be sent to a `stamp_field` with what was drawn from `shown`."""
    return [hashlib.sha256(repr(shown).encode()).hexdigest()[:16]]


def stamp_field() -> gr.JSON:
    """Keeps in the page, out of sight, the `stamp` of what it shows; empty at first."""
    return gr.JSON([], visible=False)
