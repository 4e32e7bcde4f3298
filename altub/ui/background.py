"""Work that outlives the click that began it: making the sample, downloading a data set.

One of each kind for the whole server. A handler starts it and every open page watches it, so that a reload loses
nothing and a second visitor does not begin it twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Literal

from altub.errors import AltUBError

__all__ = ["BackgroundTask", "Report"]

logger = logging.getLogger(__name__)

#: Called with the share that is done (None = not known) and a few words.
Report = Callable[[float | None, str], None]


class BackgroundTask:
    """At most one thread that does one kind of work.

    Attributes:
        state: "idle", "running", "done" or "failed".
        fraction: share that is done, None where it is not known.
        text: what is being done, or the error in words.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Literal["idle", "running", "done", "failed"] = "idle"
        self.fraction: float | None = None
        self.text = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[Report, Callable[[], bool]], str]) -> bool:
        """Runs `work(report, should_stop)`, which returns its last words; False if it runs already."""
        with self._lock:
            if self.state == "running":
                return False
            self.state, self.fraction, self.text = "running", None, ""
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, args=(work,), name=self.name, daemon=True)
            self._thread.start()
            return True

    def stop(self) -> None:
        """Asks the work to end; what it says then is shown as its failure."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> None:
        """Blocks until the work has ended."""
        if self._thread is not None:
            self._thread.join(timeout)

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    @property
    def version(self) -> str:
        """Changes whenever there is something new to show."""
        percent = "" if self.fraction is None else f"{100 * self.fraction:.0f}"
        return f"{self.state} {percent} {self.text}"

    def _report(self, fraction: float | None, text: str) -> None:
        self.fraction, self.text = fraction, text

    def _run(self, work: Callable[[Report, Callable[[], bool]], str]) -> None:
        try:
            self.text = work(self._report, self._stop.is_set)
            self.state = "done"
        except AltUBError as error:
            self.text, self.state = str(error), "failed"
        except Exception:  # a bug: the page must not wait for ever, and the traceback belongs in the log
            logger.exception("%s failed", self.name)
            self.text, self.state = f"{self.name} failed unexpectedly; the server's log has the details.", "failed"
