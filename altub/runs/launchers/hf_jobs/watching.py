"""The page follows remote runs: a thread a run, as long as its job is not over."""

from __future__ import annotations

import logging
import threading
import time

from altub.errors import AltUBError
from altub.runs.launchers.hf_jobs.follow import Follower
from altub.runs.run import Run
from altub.settings import follow_seconds, on_space

__all__ = ["keep_following"]

logger = logging.getLogger(__name__)

_followed: set[str] = set()
_lock = threading.Lock()


def keep_following(run: Run) -> bool:
    """Begins to follow a remote run, if nothing does; False on a Space, whose token is not the visitors'."""
    if on_space():
        return False
    with _lock:
        if str(run.path) not in _followed:
            _followed.add(str(run.path))
            threading.Thread(target=_follow, args=(run,), name=f"follow {run.id}", daemon=True).start()
    return True


def _follow(run: Run) -> None:
    try:
        follower = Follower(run)
        while run.is_remote and not follower.is_over:
            follower.look()
            time.sleep(follow_seconds())
    except (AltUBError, OSError) as error:  # a damaged remote.json, a full disk: the next look of the page tries again
        logger.warning("Run %s cannot be followed: %s", run.id, error)
        time.sleep(follow_seconds())
    except Exception:  # a bug: it belongs in the log, and the page goes on without
        logger.exception("Following run %s failed", run.id)
        time.sleep(follow_seconds())
    finally:
        with _lock:
            _followed.discard(str(run.path))
