"""Watched folders as processes of this machine: started and stopped by a page, and found again by any later one.

    <data root>/watched/<id>/
      watch.json        what is watched, by which run's model
      watch.log         what the process printed
      results/          its output, see `altub.line.watch`

A process is `python -m altub watch`. It outlives the page's server, as a training does. Whether it runs is told by the
lock on its output, never by a process number; it is stopped by a file.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import filelock

from altub import settings
from altub.errors import AltUBError, DataError, RunError
from altub.files import explain_full_disk, read_json, write_json
from altub.line.filing import FILING, Filing
from altub.line.journal import Entry, Journal
from altub.line.watch import JOURNAL_FILE, LOCK_FILE, STOP_FILE
from altub.runs.launchers.process import spawn
from altub.runs.run import Run

__all__ = ["Look", "State", "WatchedFolder", "WatchedFolders"]

State = Literal["starting", "watching", "stopping", "stopped"]
LAST = 8  # entries that a look shows
TAIL = 2000  # bytes of the log
ID = re.compile(r"[\w.-]{1,60}-[0-9a-f]{10}")


@dataclass(frozen=True)
class WatchedFolder:
    """What is watched.

    Attributes:
        id: name of its folder below `watched`.
        run: whose model inspects.
        started: seconds since 1970.
    """

    id: str
    folder: Path
    run: str
    filing: Filing
    started: float


@dataclass(frozen=True)
class Look:
    """A watched folder as it is now.

    Attributes:
        counts: files by verdict.
        last: the newest entries first.
        alarm: the drift alarm in a sentence; empty: none.
        problem: why it ended by itself; empty: it did not.
        waiting: messages that are still to be delivered.
    """

    watched: WatchedFolder
    state: State
    counts: Mapping[str, int]
    last: tuple[Entry, ...] = ()
    alarm: str = ""
    problem: str = ""
    waiting: int = 0

    @property
    def files(self) -> int:
        return sum(self.counts.values())


@dataclass
class _Known:
    """What a server remembers of a watched folder between two looks."""

    journal: Journal | None = None
    number: int = 0  # of the last row that was counted
    counts: dict[str, int] = field(default_factory=dict)


class WatchedFolders:
    """The watched folders of this machine; safe to use from many threads.

    Args:
        root: default `watched` in the data root.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root
        self._started: dict[str, subprocess.Popen] = {}
        self._known: dict[str, _Known] = {}
        self._lock = threading.RLock()

    @property
    def root(self) -> Path:
        return self._root or settings.data_root() / "watched"

    def output(self, watched: WatchedFolder) -> Path:
        """Where its results are."""
        return self.root / watched.id / "results"

    def list(self) -> list[WatchedFolder]:
        """All of them, the newest first; one whose record is damaged is left out."""
        found = []
        for entry in sorted(self.root.iterdir()) if self.root.is_dir() else []:
            if ID.fullmatch(entry.name) and (watched := _read(entry)) is not None:
                found.append(watched)
        return sorted(found, key=lambda watched: -watched.started)

    def find(self, watched_id: Any) -> WatchedFolder:
        """
        Raises:
            RunError: there is none of this id.
        """
        found = next((watched for watched in self.list() if watched.id == watched_id), None)
        if found is None:
            raise RunError("This watched folder is no longer in the list.")
        return found

    def start(self, run: Run, folder: Path, filing: Filing = "leave", *, device: str = "auto") -> WatchedFolder:
        """Starts a process that watches a folder; one that was stopped goes on where it was.

        Raises:
            DataError: the folder is none, or holds results of AltUB itself.
            RunError: it is being watched by this model already, or no process could be started.
            DiskFullError: no room.
        """
        folder = folder.resolve()
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder: give the one in which images arrive.")
        if filing not in FILING:
            raise DataError("Say what happens to inspected files: leave, move or copy.")
        if self.root.resolve().is_relative_to(folder) or folder.is_relative_to(self.root.resolve()):
            raise DataError("This folder holds AltUB's own results: give the one in which images arrive.")
        key = hashlib.sha256(f"{folder}\0{run.path.resolve()}".encode()).hexdigest()[:10]
        name = re.sub(r"[^\w.-]+", "-", folder.name).strip("-.")[:40] or "folder"
        watched = WatchedFolder(f"{name}-{key}", folder, run.id, filing, time.time())
        with self._lock:
            if self._state(watched) != "stopped":
                raise RunError("This folder is being watched already: stop that first.")
            place, output = self.root / watched.id, self.output(watched)
            with explain_full_disk(place):
                output.mkdir(parents=True, exist_ok=True)
            (output / STOP_FILE).unlink(missing_ok=True)
            record = {"folder": str(folder), "run": run.id, "filing": filing, "started": watched.started}
            write_json(place / "watch.json", record)
            arguments = ["watch", str(folder), "--model", str(run.model_dir), "--output", str(output)]
            try:
                with explain_full_disk(place), (place / "watch.log").open("wb") as log:
                    process = spawn(
                        "altub",
                        *arguments,
                        *("--files", filing, "--device", device),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,  # Ctrl+C is for the page
                    )
            except OSError as error:
                raise RunError(f"No process could be started: {error}.") from error
            self._started[watched.id] = process
            # Takes note of its end, so that no dead process stays in the table of the system.
            threading.Thread(target=process.wait, name=f"end of {watched.id}", daemon=True).start()
        return watched

    def stop(self, watched: WatchedFolder) -> None:
        """Asks it to end after the files that are being inspected; what is left is inspected after the next start."""
        with self._lock:
            (self.output(watched) / STOP_FILE).touch()
            process = self._started.get(watched.id)
            if process is not None and process.poll() is None and not _is_held(self.output(watched) / LOCK_FILE):
                process.terminate()  # it has not looked for the file yet

    def forget(self, watched: WatchedFolder) -> None:
        """Takes it from the list; its results stay, and the next start of the same folder goes on from them.

        Raises:
            RunError: it runs.
        """
        with self._lock:
            if self._state(watched) != "stopped":
                raise RunError("This folder is being watched: stop that first.")
            (self.root / watched.id / "watch.json").unlink(missing_ok=True)

    def look(self, watched: WatchedFolder) -> Look:
        """How it is going."""
        with self._lock:
            state, output = self._state(watched), self.output(watched)
            known = self._known.setdefault(watched.id, _Known())
            problem = "" if state != "stopped" else self._problem(watched)
            if known.journal is None and (output / JOURNAL_FILE).is_file():
                try:
                    known.journal = Journal(output / JOURNAL_FILE)
                except AltUBError as error:
                    return Look(watched, state, {}, problem=str(error))
            if known.journal is None:
                return Look(watched, state, {}, problem=problem)
            journal, number = known.journal, known.journal.last()
            for verdict, count in journal.counts(known.number, number).items():  # each row is counted once
                known.counts[verdict] = known.counts.get(verdict, 0) + count
            known.number = number
            last = tuple(journal.newest(LAST))
            return Look(watched, state, dict(known.counts), last, _alarm(output), problem, journal.waiting())

    def names(self) -> dict[str, str]:
        """Name of a journal, which is the source of its inspections in the log -> name of the folder."""
        for watched in self.list():
            self.look(watched)
        with self._lock:
            return {
                known.journal.name: watched.folder.name
                for watched in self.list()
                if (known := self._known.get(watched.id)) is not None and known.journal is not None
            }

    def _state(self, watched: WatchedFolder) -> State:
        output = self.output(watched)
        if _is_held(output / LOCK_FILE):
            return "stopping" if (output / STOP_FILE).exists() else "watching"
        process = self._started.get(watched.id)
        return "starting" if process is not None and process.poll() is None else "stopped"

    def _problem(self, watched: WatchedFolder) -> str:
        """What a process that failed printed last."""
        process = self._started.get(watched.id)
        if process is None or process.poll() in (None, 0, 130, -15, 143):
            return ""
        try:
            with (self.root / watched.id / "watch.log").open("rb") as log:
                log.seek(max(log.seek(0, 2) - TAIL, 0))
                lines = log.read().decode("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else f"It ended with exit code {process.poll()}."


def _is_held(path: Path) -> bool:
    """Does a process hold this lock?"""
    if not path.exists():
        return False
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except (filelock.Timeout, OSError):
        return True
    lock.release()
    return False


def _read(place: Path) -> WatchedFolder | None:
    try:
        record = read_json(place / "watch.json")
        filing = record["filing"] if record["filing"] in FILING else "leave"
        return WatchedFolder(place.name, Path(record["folder"]), str(record["run"]), filing, float(record["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _alarm(output: Path) -> str:
    try:
        return str(json.loads((output / "drift.json").read_text(encoding="utf-8"))["sentence"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
