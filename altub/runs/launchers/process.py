"""Trainings as processes of this machine.

A training is `python -m altub train --run-dir R --resume --queue`. It outlives the page's server, and any server (or
the command line) finds it again through its run directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from altub.errors import AltUBError, RunError
from altub.files import PACKAGE, explain_full_disk
from altub.runs.launchers.base import LocalLauncher
from altub.runs.run import Run

if TYPE_CHECKING:
    from altub.runs.launchers.standby import Standby

__all__ = ["ProcessLauncher", "full_environment", "spawn", "spawn_training"]


class ProcessLauncher(LocalLauncher):
    """A process for every training; it waits in the queue by itself.

    Args:
        standby: has a process ready for the next training; None: each is started when it is wanted.
    """

    def __init__(self, standby: Standby | None = None) -> None:
        self.standby = standby

    def prepare(self) -> None:
        if self.standby is not None:
            self.standby.prepare()

    def start(self, run: Run) -> None:
        try:
            process = spawn_training(run, "--queue", standby=self.standby)
        except AltUBError as error:  # the run must not look as if it were starting
            run.mark_failed(error)
            raise
        # Takes note of its end, so that no dead process stays in the table of the system.
        threading.Thread(target=process.wait, name=f"end of {run.id}", daemon=True).start()


def spawn_training(
    run: Run,
    *options: str,
    environment: Mapping[str, str] | None = None,
    new_log: bool = False,
    standby: Standby | None = None,
) -> subprocess.Popen:
    """A process that trains `run` from its checkpoint and prints into its train.log.

    Args:
        options: more options of `altub train`.
        environment: variables to set.
        new_log: replace the log of earlier processes.
        standby: its waiting process is taken, if there is one.

    Raises:
        RunError: no process could be started.
        DiskFullError: no room for the log.
    """
    if run.log_file.exists() and not run.log_file.is_file():  # opening a pipe would wait for its reader
        raise RunError(f"{run.log_file.name} of run {run.id} is no file: remove it.")
    arguments = ("train", "--run-dir", str(run.path), "--resume", "--quiet", *options)
    try:
        with explain_full_disk(run.log_file), run.log_file.open("wb" if new_log else "ab") as log:
            taken = None if standby is None else standby.take(arguments, run.log_file, environment)
            return taken or spawn(
                "altub",
                *arguments,
                environment=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl+C is for the starter: it must not end the training
            )
    except OSError as error:
        raise RunError(f"No training process could be started: {error}.") from error


def spawn(
    module: str, *arguments: str, environment: Mapping[str, str | None] | None = None, **options: Any
) -> subprocess.Popen:
    """`python -m module arguments` in a process of its own, which finds this package wherever it is started.

    Args:
        environment: variables to set, or to unset by None; the others are this process's.
        options: of `subprocess.Popen`.

    Raises:
        OSError: the system cannot start it.
    """
    return subprocess.Popen([sys.executable, "-m", module, *arguments], env=full_environment(environment), **options)


def full_environment(environment: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """All variables of such a process."""
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
    paths = [str(PACKAGE.parent), variables.get("PYTHONPATH") or ""]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return {name: value for name, value in variables.items() if value is not None}
