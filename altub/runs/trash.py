"""Deleted runs can be brought back for a day: they wait in `.trash` of the runs folder, which no list looks into."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from altub.errors import RunError
from altub.runs.damaged import check_may_remove
from altub.runs.run import Run
from altub.settings import runs_root

__all__ = ["KEPT_HOURS", "empty_trash", "list_trash", "restore_run", "trash_run"]

TRASH = ".trash"
KEPT_HOURS = 24


def trash_run(run_id: str, root: Path | None = None) -> None:
    """Deletes the run with this id, so that `restore_run` can bring it back; what was deleted a day ago goes for good.

    Raises:
        RunError: there is none, it is being trained, or this user may not move it; it is then as it was.
    """
    root = root or runs_root()
    run = Run.find(run_id, root)
    check_may_remove(run)
    empty_trash(root, older_than=KEPT_HOURS)
    goal = root / TRASH / run.id
    try:
        goal.parent.mkdir(exist_ok=True)
        if goal.exists():  # an older one of the same name
            shutil.rmtree(goal)
        os.replace(run.path, goal)
        os.utime(goal)  # the day begins now
    except OSError as error:
        raise RunError(
            f"Run {run.id} could not be deleted ({error.strerror}): check the rights of its folder."
        ) from None


def restore_run(run_id: str, root: Path | None = None) -> Run:
    """Brings a deleted run back.

    Raises:
        RunError: it is not in the trash any more, or there is a run of this name again.
    """
    root = root or runs_root()
    trashed = Run.find(run_id, root / TRASH)
    goal = root / trashed.id
    if os.path.lexists(goal):
        raise RunError(f"There is a run {run_id} again: rename its folder first.")
    try:
        os.replace(trashed.path, goal)
    except OSError as error:
        raise RunError(f"Run {run_id} could not be brought back ({error.strerror}).") from None
    return Run(goal)


def list_trash(root: Path | None = None) -> list[str]:
    """Ids of the runs that can be brought back, the last deleted one first."""
    folder = (root or runs_root()) / TRASH
    try:
        with os.scandir(folder) as entries:
            found = [(entry.stat().st_mtime, entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [name for _, name in sorted(found, reverse=True)]


def empty_trash(root: Path | None = None, *, older_than: float = 0.0) -> None:
    """Deletes for good what was deleted more than so many hours ago."""
    folder = (root or runs_root()) / TRASH
    for name in list_trash(root):
        path = folder / name
        if time.time() - path.stat().st_mtime >= 3600 * older_than:
            shutil.rmtree(path, ignore_errors=True)
