"""What the page keeps for each visitor between two clicks: a batch, under an id that cannot be guessed.

The page itself holds only the id, and a browser remembers the ids of its last ones, so that a reload loses nothing and
earlier inspections can be opened again. Batches lie under Gradio's folder for temporary files; the least recently used
are removed when there are too many, and all after a day.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from altub.errors import RunError
from altub.files import explain_full_disk
from altub.ui.inspect.batch import PageBatch
from altub.ui.server.temporary import BATCHES_FOLDER

__all__ = ["MAX_BATCH", "Kept", "SessionStore"]

MAX_BATCH = 500  # images of one visitor
MAX_IMAGES = 4000  # of all visitors; one takes one to two MB of disk
MAX_SESSIONS = 2000  # of all visitors, most of them without a batch
REMEMBERED = 12  # inspections of one browser


@dataclass(frozen=True)
class Kept:
    """An inspection that can be opened again.

    Attributes:
        changed: when images were added last, in seconds since 1970.
    """

    session: str
    batch: PageBatch
    changed: float


@dataclass
class _Session:
    batch: PageBatch | None = None
    changed: float = 0.0
    busy: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)


class SessionStore:
    """Batches by session id; safe to use from many threads.

    Args:
        root: folder of the batches' folders; default one under Gradio's.
        max_images: over all sessions; the one in use is always kept.
    """

    def __init__(self, root: Path | None = None, max_images: int = MAX_IMAGES) -> None:
        self._root, self.max_images = root, max_images
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def root(self) -> Path:
        return self._root or Path(get_upload_folder()) / BATCHES_FOLDER

    def new(self) -> str:
        """The id of a new session, with no batch yet."""
        session = secrets.token_urlsafe(24)
        dropped = []
        with self._lock:
            self._sessions[session] = _Session()
            while len(self._sessions) > MAX_SESSIONS:
                dropped.append(self._sessions.popitem(last=False)[1].batch)
        for old in dropped:
            if old is not None:
                shutil.rmtree(old.folder, ignore_errors=True)
        return session

    def kept(self, sessions: Any) -> list[Kept]:
        """Those of a browser's remembered sessions that still have their batch, in the given order.

        Args:
            sessions: what the browser sent; may be anything.
        """
        given = sessions if isinstance(sessions, list) else []
        ids = dict.fromkeys(one for one in given[: 4 * REMEMBERED] if isinstance(one, str))
        with self._lock:
            entries = [(one, self._sessions[one]) for one in ids if one in self._sessions]
        found = [
            Kept(one, entry.batch, entry.changed)
            for one, entry in entries
            if entry.batch is not None and entry.batch.folder.is_dir()
        ]
        return found[:REMEMBERED]

    def knows(self, session: str | None) -> bool:
        with self._lock:
            return isinstance(session, str) and session in self._sessions

    @contextmanager
    def alone(self, session: str) -> Iterator[None]:
        """Two clicks of one visitor must not both add to the batch: the second waits."""
        with self._lock:
            busy = self._sessions.setdefault(session, _Session()).busy
        with busy:
            yield

    def stop_signal(self, session: str) -> threading.Event:
        """Set by `stop`; cleared when a batch is announced and when it has ended."""
        with self._lock:
            return self._sessions.setdefault(session, _Session()).stop

    def stop(self, session: str | None) -> None:
        """Asks the running batch to stop; does nothing where there is none."""
        with self._lock:
            entry = self._sessions.get(session) if isinstance(session, str) else None
        if entry is not None:
            entry.stop.set()

    def new_folder(self) -> Path:
        """An empty folder for a batch."""
        folder = self.root / secrets.token_urlsafe(16)
        with explain_full_disk(folder):
            folder.mkdir(parents=True)
        return folder

    def get(self, session: str | None) -> PageBatch | None:
        """The session's batch; None where there is none yet, or it was removed."""
        with self._lock:
            if not isinstance(session, str) or session not in self._sessions:
                return None
            self._sessions.move_to_end(session)
            batch = self._sessions[session].batch
        if batch is not None:
            with suppress(OSError):  # removed meanwhile
                os.utime(batch.folder)  # used just now: temporary files are removed by their last use
        return batch

    def require(self, session: str | None) -> PageBatch:
        """The session's batch.

        Raises:
            RunError: there is none.
        """
        batch = self.get(session)
        if batch is None:
            raise RunError("The results are no longer kept: drop the images again.")
        return batch

    def put(self, session: str, batch: PageBatch) -> None:
        """Replaces the session's batch; drops the files of the old one, and other sessions if there are too many."""
        with self._lock:
            entry = self._sessions.setdefault(session, _Session())
            dropped, entry.batch, entry.changed = [entry.batch], batch, time.time()
            self._sessions.move_to_end(session)
            while len(self._sessions) > 1 and self._count() > self.max_images:
                dropped.append(self._sessions.popitem(last=False)[1].batch)
        for old in dropped:
            if old is not None and old.folder != batch.folder:
                shutil.rmtree(old.folder, ignore_errors=True)

    def discard(self, session: str | None) -> None:
        """Removes a session and its files."""
        with self._lock:
            entry = self._sessions.pop(session, None) if isinstance(session, str) else None
        if entry is not None and entry.batch is not None:
            shutil.rmtree(entry.batch.folder, ignore_errors=True)

    def _count(self) -> int:
        return sum(len(entry.batch.items) for entry in self._sessions.values() if entry.batch is not None)
