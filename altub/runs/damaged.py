"""Runs whose files are damaged: found one by one, so that none of them hides the others, and removable."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from altub.errors import AltUBError, RunError
from altub.inference.model_files import CONFIG_FILE, read_config
from altub.runs.launchers.base import find_launcher
from altub.runs.run import Run, list_runs
from altub.settings import runs_root

__all__ = ["DamagedRun", "check_may_remove", "list_damaged", "remove_run"]


@dataclass(frozen=True)
class DamagedRun:
    """A run that cannot be shown or used as a whole.

    Attributes:
        id: name of its folder.
        reason: a sentence, without folders of this machine.
    """

    id: str
    reason: str


def list_damaged(root: Path | None = None) -> list[DamagedRun]:
    """The runs under the runs folder whose settings, or whose model's, cannot be read; newest first."""
    root = root or runs_root()
    return [DamagedRun(run.id, reason) for run in list_runs(root) if (reason := _what_is_wrong(run)) is not None]


def remove_run(run_id: str, root: Path | None = None) -> None:
    """Deletes the run with this id for good.

    Raises:
        RunError: there is none, it is being trained, or this user may not delete it; it is then as it was.
    """
    run = Run.find(run_id, root)
    check_may_remove(run)
    try:
        # Renamed first: in one step it is gone from every list, even where deleting it takes long.
        trash = Path(tempfile.mkdtemp(dir=run.path.parent, prefix=".removed-"))
        os.replace(run.path, trash / run.id)
        shutil.rmtree(trash)
    except OSError as error:
        raise RunError(
            f"Run {run.id} could not be removed ({error.strerror}): check the rights of its folder."
        ) from None


def check_may_remove(run: Run) -> None:
    """Refuses to delete what is being trained.

    Raises:
        RunError: it is.
    """
    if run.status.state in ("queued", "running") and not _is_lost(run):
        raise RunError(f"Run {run.id} is being trained: stop it first.")


def _is_lost(run: Run) -> bool:
    """Is it trained elsewhere, and nobody knows any more where?"""
    try:
        find_launcher(run).place(run)
    except AltUBError:
        return True
    return False


def _what_is_wrong(run: Run) -> str | None:
    try:
        run.config  # noqa: B018 - raises where it is damaged
        find_launcher(run).place(run)  # likewise
        if (run.model_dir / CONFIG_FILE).exists():
            read_config(run.model_dir)
    except AltUBError as error:
        return str(error).replace(str(run.path), run.id)
    except OSError as error:
        return f"Its files cannot be read ({error.strerror})."
    return None
