"""Keeps runs that are trained elsewhere up to date: a thread a run, until its training has ended."""

from __future__ import annotations

import logging
import threading
import time

from altub.errors import AltUBError
from altub.runs.launchers.base import Launcher, find_launcher
from altub.runs.run import Run
from altub.settings import follow_seconds, on_space

__all__ = ["Following"]

logger = logging.getLogger(__name__)


class Following:
    """The runs that this process follows; safe to use from several threads."""

    def __init__(self) -> None:
        self._followed: set[str] = set()
        self._lock = threading.Lock()

    def keep(self, run: Run, launcher: Launcher | None = None) -> bool:
        """Begins to follow a run, if nothing here does; False where that is not needed, or not possible: a Space has a
        token, but it is not its visitors'."""
        if on_space() or (launcher or find_launcher(run)).is_local:
            return False
        with self._lock:
            if str(run.path) not in self._followed:
                self._followed.add(str(run.path))
                threading.Thread(target=self._follow, args=(run,), name=f"follow {run.id}", daemon=True).start()
        return True

    def _follow(self, run: Run) -> None:
        try:
            follower = find_launcher(run).follower(run)
            while follower is not None and run.launcher is not None and not follower.is_over:
                follower.look()
                time.sleep(follow_seconds())
        except (AltUBError, OSError) as error:  # a damaged note, a full disk: the next look of the page tries again
            logger.warning("Run %s cannot be followed: %s", run.id, error)
            time.sleep(follow_seconds())
        except Exception:  # a bug: it belongs in the log, and the page keeps working
            logger.exception("Following run %s failed", run.id)
            time.sleep(follow_seconds())
        finally:
            with self._lock:
                self._followed.discard(str(run.path))
