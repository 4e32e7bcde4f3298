"""Messages of a watched folder on their way out: in order, again and again until they arrive, in a thread of their own.

A message lies in the journal's outbox until its receiver has it, so that neither a receiver that is down nor an end of
the program loses one, and the inspection never waits. Each way out (a webhook, a broker) has a channel of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from altub.line.journal import Journal

__all__ = ["Delivery"]

LONGEST_WAIT = 300.0  # seconds between two attempts
IDLE = 1.0  # seconds between two looks into the outbox
END_PATIENCE = 11.0  # seconds that an attempt may still take when the thread is asked to end


class Delivery:
    """Delivers what lies in a channel of a journal's outbox, the oldest message first.

    Args:
        journal: whose outbox.
        channel: "webhook" or "mqtt".
        tell: called with sentences on messages that the receiver refuses.
    """

    def __init__(self, journal: Journal, channel: str, tell: Callable[[str], None] = lambda text: None) -> None:
        self.journal, self.channel, self._tell = journal, channel, tell
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._deliver, name=f"altub-{channel}", daemon=True)

    def send(self, body: bytes) -> tuple[str | None, bool]:
        """Sends one message; what went wrong (None: nothing), and whether it always will."""
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There are new messages."""
        self._wake.set()

    def close(self, patience: float = 0.0) -> int:
        """Ends the thread, after at most so many seconds in which what is left may be delivered; what is left then."""
        if self._thread.ident is None:  # never started
            return self.journal.waiting(self.channel)
        end = time.monotonic() + patience
        while self.journal.waiting(self.channel) and time.monotonic() < end:
            time.sleep(0.05)
        self._stop.set()
        self._wake.set()
        self._thread.join(END_PATIENCE)
        return self.journal.waiting(self.channel)

    def disconnect(self) -> None:
        """Called in the thread when it ends."""

    def _deliver(self) -> None:
        while not self._stop.is_set():
            message = self.journal.due(self.channel)
            if message is None:
                self._wake.wait(IDLE)
                self._wake.clear()
                continue
            number, body, attempts = message
            problem, final = self.send(body.encode())
            if problem is None:
                self.journal.delivered(number)
            elif final:
                self.journal.give_up(number, problem)
                self._tell(f"The {self.channel} refused message {number}: {problem}. It is kept in the journal.")
            else:
                self.journal.postpone(number, min(2.0**attempts, LONGEST_WAIT))
        self.disconnect()
        self.journal.close()
