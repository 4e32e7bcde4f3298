"""The temporary files of the page: one folder for each server, bounded in size and age, removed with the server.

Everything that a visitor's request leaves on the disk lies in it: uploads and results, which Gradio keeps in the folder
that GRADIO_TEMP_DIR names, and our batches and exports below it. A thread removes what is old and, where there is too
much, what was used least recently. A folder whose server was killed is removed by the next one to start.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from altub import settings
from altub.errors import ConfigError

__all__ = ["API_FOLDER", "BATCHES_FOLDER", "LABEL_FOLDER", "TemporaryFiles", "Upload", "remove_dead"]

PREFIX, LOCK, FILES = "altub-page-", "server.lock", "files"
# Each child of theirs is removed on its own.
API_FOLDER, BATCHES_FOLDER, LABEL_FOLDER = "altub-api", "altub-inspect", "altub-label"
UPLOADING = "tmp"  # begins the name of a file that Gradio is receiving

MAX_AGE = 24 * 3600  # seconds since the last use
GRACE = 60  # seconds within which nothing is removed for its size
STARTING = 60  # seconds that a new server may take to lock its folder
SWEPT_EVERY = 10  # seconds
SWEEP_ABOVE, SWEEP_TO = 0.9, 0.8  # of the size

NO_ROOM = "The server has no room for more uploads at the moment: try again in a minute, or with fewer files at a time."


@dataclass(frozen=True)
class _Entry:
    """Files that are removed together."""

    path: Path
    size: int
    used: float


class Upload(AbstractContextManager["Upload"]):
    """An upload that is being received; made by `TemporaryFiles.upload`.

    Attributes:
        refusal: why there is no room for it, in a sentence; None while there is.
    """

    def __init__(self, files: TemporaryFiles) -> None:
        self._files, self._received, self.began = files, 0, time.time()
        self.refusal: str | None = None

    def __enter__(self) -> Upload:
        self._files._enter(self)
        self.take(0)
        return self

    def take(self, count: int) -> bool:
        """May these further bytes be written?"""
        self._received += count
        if not self._files._has_room(count):
            self.refusal = NO_ROOM
        return self.refusal is None

    def __exit__(self, *_error: object) -> None:
        self._files._leave(self, self._received)


class TemporaryFiles(AbstractContextManager["TemporaryFiles"]):
    """The folder of one server; a context manager that makes it, and removes it at the end.

    While it is open, GRADIO_TEMP_DIR names its folder `path`; open it before the page is built.

    Args:
        root: where it is made; default the folder that GRADIO_TEMP_DIR names, else the system's.
        max_bytes: what its files may take; default ``ALTUB_TEMP_SIZE``.
        max_age: seconds since the last use after which files are removed.
        grace: seconds since the last use within which they are not, even where there are too many.

    Raises:
        ConfigError: (on entering) it cannot be made.
    """

    def __init__(
        self, root: Path | None = None, max_bytes: int | None = None, max_age: float = MAX_AGE, grace: float = GRACE
    ) -> None:
        self.root = root or settings.gradio_temp_dir() or Path(tempfile.gettempdir())
        self.max_bytes = settings.temp_bytes() if max_bytes is None else max_bytes
        self.max_age, self.grace = max_age, grace
        self._used = self._incoming = 0  # bytes on the disk at the last look, and of the uploads since it
        self._uploads: set[Upload] = set()
        self._lock, self._wake, self._closed = threading.Lock(), threading.Event(), False

    def __enter__(self) -> TemporaryFiles:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            remove_dead(self.root)
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self.root))  # only this user may read it
            self._held = FileLock(self.folder / LOCK)
            self._held.acquire(timeout=STARTING)
            self.path.mkdir()
        except OSError as error:
            raise ConfigError(
                f"No temporary folder can be made in {self.root}: free some space, or set GRADIO_TEMP_DIR to a folder "
                "that can be written."
            ) from error
        self._former = settings.use_gradio_temp_dir(self.path)
        threading.Thread(target=self._run, name="temporary files", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """Where the files are."""
        return self.folder / FILES

    def close(self) -> None:
        """Removes the folder; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        settings.use_gradio_temp_dir(self._former)
        _remove(self.path)
        self._held.release()
        _remove(self.folder)

    def upload(self) -> Upload:
        """To be entered while an upload is received."""
        return Upload(self)

    def sweep(self) -> int:
        """Removes what is too old and, above the size, what was used least recently; returns the bytes that remain."""
        now = time.time()
        with self._lock:
            uploads_since = min((upload.began for upload in self._uploads), default=now)
            incoming = self._incoming
        entries = [
            entry
            for entry in sorted(self._entries(), key=lambda entry: entry.used)
            if not (self._uploads and entry.path.name.startswith(UPLOADING) and entry.used >= uploads_since - 1)
        ]
        remaining = sum(entry.size for entry in entries)
        too_much = remaining + incoming > SWEEP_ABOVE * self.max_bytes
        for entry in entries:
            orphan = entry.path.name.startswith(UPLOADING) and entry.used < uploads_since - self.grace
            for_size = too_much and remaining + incoming > SWEEP_TO * self.max_bytes and entry.used < now - self.grace
            if orphan or for_size or entry.used < now - self.max_age:
                _remove(entry.path)
                remaining -= entry.size
        with self._lock:
            self._used = remaining
        return remaining

    def _entries(self) -> Iterator[_Entry]:
        for child in _children(self.path):
            if child.name in (API_FOLDER, BATCHES_FOLDER, LABEL_FOLDER):
                yield from (_Entry(Path(inner.path), *_measure(inner)) for inner in _children(Path(child.path)))
            else:
                yield _Entry(Path(child.path), *_measure(child))

    def _run(self) -> None:
        while not self._closed:
            self.sweep()
            self._wake.wait(SWEPT_EVERY)
            self._wake.clear()

    def _enter(self, upload: Upload) -> None:
        with self._lock:
            self._uploads.add(upload)

    def _leave(self, upload: Upload, received: int) -> None:
        with self._lock:
            self._uploads.discard(upload)
            self._incoming -= received
            self._used += received

    def _has_room(self, count: int) -> bool:
        with self._lock:
            self._incoming += count
            total = self._used + self._incoming
        if total > SWEEP_ABOVE * self.max_bytes:
            self._wake.set()
        return total <= self.max_bytes


def remove_dead(root: Path) -> None:
    """Removes the folders of servers that no longer run, as far as they are this user's."""
    for child in _children(root):
        if not child.name.startswith(PREFIX) or not child.is_dir(follow_symlinks=False):
            continue
        folder = Path(child.path)
        with suppress(OSError):
            status = child.stat(follow_symlinks=False)
            if hasattr(os, "getuid") and status.st_uid != os.getuid():
                continue
            if not (folder / LOCK).is_file():
                if time.time() - status.st_mtime > STARTING:
                    _remove(folder)
                continue
            with suppress(Timeout), FileLock(folder / LOCK, timeout=0):
                _remove(folder)


def _children(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # removed meanwhile
        return []


def _measure(entry: os.DirEntry[str]) -> tuple[int, float]:
    """Bytes, and when it was used last."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return 0, time.time()
    size, used = status.st_size, status.st_mtime
    if entry.is_dir(follow_symlinks=False):
        size = 0
        for child in _children(Path(entry.path)):
            more, when = _measure(child)
            size, used = size + more, max(used, when)
    return size, used


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
