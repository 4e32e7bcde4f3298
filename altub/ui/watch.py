"""What the page knows of all runs, read from their directories no more often than needed.

One `RunWatch` serves every visitor: a file is read again when it changed, and a trainer's pulse is felt about once a
second, however many windows are open.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from altub.errors import RunError
from altub.runs import queue as jobs
from altub.runs.following import Following
from altub.runs.launchers.base import Place, find_launcher
from altub.runs.notes import NOTES_FILE, RunNotes, read_notes
from altub.runs.run import Run, Status, list_runs
from altub.settings import runs_root
from altub.training.config import TrainingConfig
from altub.training.records import EpochRecord

__all__ = ["ACTIVE", "RunView", "RunWatch", "describe_view", "stamp"]

ACTIVE = ("queued", "running")
FRESH = 0.8  # seconds that the state of an active run is believed
LISTED = 0.8  # seconds that the list of run folders is believed
KEPT_EVENTS = 16  # runs whose events are kept in memory


@dataclass(frozen=True)
class RunView:
    """A run as it was a moment ago. position: trainings that must end before a queued one starts. place: where it is
    trained if not here. notes: what people say about it."""

    run: Run
    status: Status
    config: TrainingConfig
    position: int = 0
    place: Place | None = None
    notes: RunNotes = field(default_factory=RunNotes)

    @property
    def id(self) -> str:
        return self.run.id

    @property
    def state(self) -> str:
        return self.status.state

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def title(self) -> str:
        """What people call it: its name, else its category."""
        return self.notes.name or self.config.category


class RunWatch:
    """Cached views of the runs folder; safe to use from several threads."""

    def __init__(self, root: Path | None = None) -> None:
        self._root = root
        self._following = Following()
        self._lock = threading.RLock()
        self._views: dict[str, tuple[tuple[tuple[int, int], ...], float, RunView]] = {}
        self._listed: tuple[float, list[str]] = (-1e9, [])
        self._events: dict[str, tuple[tuple[int, int], list[EpochRecord]]] = {}

    @property
    def root(self) -> Path:
        return self._root or runs_root()

    def views(self, archived: bool = False) -> list[RunView]:
        """The runs that can be read, newest first; those in the archive too if asked for."""
        with self._lock:
            began, ids = self._listed
            if time.monotonic() - began > LISTED:
                ids = [run.id for run in list_runs(self.root)]
                self._listed = (time.monotonic(), ids)
            views = [self.view(run_id) for run_id in ids]
        return [view for view in views if view is not None and (archived or not view.notes.archived)]

    def view(self, run_id: str | None) -> RunView | None:
        """One run, or None where there is none of this id."""
        if not run_id:
            return None
        with self._lock:
            try:
                run = Run.find(run_id, self.root)
                mark = (stamp(run.path / "status.json"), stamp(run.path / NOTES_FILE))
                known = self._views.get(run_id)
                if known and known[0] == mark:
                    _, seen, view = known
                    if not view.is_active or time.monotonic() - seen < FRESH:
                        return view
                status = run.status
                launcher = find_launcher(run)
                waits = status.state == "queued" and launcher.is_local
                position = jobs.position_in_queue(run) if waits else 0
                view = RunView(run, status, run.config, position, launcher.place(run), read_notes(run))
                if view.is_active:
                    self._following.keep(run, launcher)
            except RunError:
                self._views.pop(run_id, None)
                return None
            self._views[run_id] = (mark, time.monotonic(), view)
            return view

    def forget(self) -> None:
        """The next look goes to the disk: something was just started or stopped."""
        with self._lock:
            self._listed = (-1e9, [])
            self._views.clear()

    def events(self, run: Run) -> list[EpochRecord]:
        """The run's epochs so far."""
        mark = stamp(run.path / "events.jsonl")
        with self._lock:
            known = self._events.get(run.id)
            if known and known[0] == mark:
                return known[1]
            events = run.events(start=True)
            self._events.pop(run.id, None)
            self._events[run.id] = (mark, events)
            while len(self._events) > KEPT_EVENTS:
                self._events.pop(next(iter(self._events)))
            return events

    def choose(self, wish: str | None) -> str | None:
        """The run to show first: the one that was looked at if it is active, else any that trains, else the former,
        else the newest."""
        views = self.views()
        wished = next((view for view in views if view.id == wish), None)
        active = next((view for view in views if view.state == "running"), None) or next(
            (view for view in views if view.is_active), None
        )
        chosen = (wished if wished and wished.is_active else None) or active or wished or (views[0] if views else None)
        return chosen.id if chosen else None


def describe_view(view: RunView) -> str:
    """One line for a list of runs."""
    when = time.strftime("%d %b %H:%M", time.localtime(view.status.created))
    pin = "★ " if view.notes.pinned else ""
    return f"{pin}{view.title} · {when} · {view.state} · {view.id.rsplit('-', 1)[-1]}"


def stamp(path: Path) -> tuple[int, int]:
    """Changes whenever the file is replaced or grows; (0, 0) where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
