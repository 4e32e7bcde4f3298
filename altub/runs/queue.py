"""Trainings as processes of their own: started here, watched through their run directories, queued by the file system.

A job is `python -m altub train --run-dir R --resume --queue`. It outlives the page's server, and any server (or the
command line) finds it again through its run directory. The queue needs no master either: every queued process looks at
the runs folder and goes ahead when it is its turn.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from altub.errors import AltUBError, RunError
from altub.files import PACKAGE, explain_full_disk
from altub.runs.run import Run, list_runs, new_run_id
from altub.settings import max_jobs, runs_root
from altub.training.config import TrainingConfig

__all__ = ["position_in_queue", "resume", "start", "stop", "use_launcher", "wait_for_turn"]

QUEUE_POLL = 0.5  # seconds between two looks at the queue

_children: list[subprocess.Popen] = []
_children_lock = threading.Lock()
_launcher: Callable[[Run], None] | None = None


def start(config: TrainingConfig, root: Path | None = None) -> Run:
    """Creates a run and starts (or queues) its training; returns at once.

    Raises:
        DiskFullError: the run directory could not be written.
        RunError: no process could be started.
    """
    run = Run.create((root or runs_root()) / new_run_id(config.category), config)
    _spawn(run)
    return run


def resume(run: Run) -> None:
    """Starts the training of a stopped, interrupted or failed run again, from its last checkpoint; a remote one as a
    new job.

    Raises:
        RunError: it is being trained, waits in the queue, or is finished.
    """
    status = run.status
    if status.state in ("queued", "running"):
        raise RunError(f"Run {run.id} is {status.state} already.")
    if status.state == "finished":
        raise RunError(f"Run {run.id} is finished: there is nothing left to train.")
    if run.is_remote:
        from altub.runs.launchers.hf_jobs import submit_again

        submit_again(run)
        return
    run.clear_stop()
    status.state, status.stage, status.message = "queued", "starting", ""
    status.pid, status.queued_at = None, time.time()
    run.write_status(status)
    _spawn(run)


def stop(run: Run) -> None:
    """Asks a queued or running training to stop; it saves its state and says "stopped" within a step or two.

    A remote one is cancelled; what its mirror holds is kept.

    Raises:
        RunError: nothing trains this run.
        HubError: the Hub does not cancel the job.
    """
    state = run.status.state
    if state not in ("queued", "running"):
        raise RunError(f"Run {run.id} is not being trained: it is {state}.")
    if run.is_remote:
        from altub.runs.launchers.hf_jobs import cancel

        cancel(run)
        return
    run.request_stop()


def wait_for_turn(run: Run, should_stop: Callable[[], bool]) -> bool:
    """Blocks a queued training process until it may train; False if it was stopped while it waited.

    Args:
        should_stop: asked between looks; a stop is also taken from the run directory.
    """
    while not (should_stop() or run.stop_requested()):
        if position_in_queue(run) == 0:
            return True
        time.sleep(QUEUE_POLL)
    return False


def position_in_queue(run: Run) -> int:
    """How many other trainings must end before this one may start; 0 = it is its turn."""
    root = run.path.parent
    mine = (run.read_status().queued_at, run.id)
    running, before = 0, 0
    for other in list_runs(root):
        if other.id == run.id or other.is_remote:  # which takes nothing of this machine
            continue
        status = other.status
        if status.state == "running":
            running += 1
        elif status.state == "queued" and (status.queued_at, other.id) < mine:
            before += 1
    return max(running + before - max_jobs() + 1, 0)


def use_launcher(launch: Callable[[Run], None] | None) -> None:
    """Lets `launch` train the runs that are started and resumed, where a process of its own has no GPU; None = again
    processes.
    """
    global _launcher
    _launcher = launch


def _spawn(run: Run) -> None:
    if _launcher is not None:
        _launcher(run)
        return
    command = [sys.executable, "-m", "altub", "train", "--run-dir", str(run.path), "--resume", "--queue", "--quiet"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # A job started from a checkout must find the package wherever the server was started.
    package_parent = str(PACKAGE.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package_parent, environment.get("PYTHONPATH")]))
    try:
        with explain_full_disk(run.log_file), run.log_file.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl+C on the server must not end the trainings
                env=environment,
            )
    except (OSError, AltUBError) as error:  # no memory or no room for it: the run must not look as if it would begin
        told = error if isinstance(error, AltUBError) else RunError(f"No training process could be started: {error}.")
        status = run.read_status()
        status.state, status.stage, status.message = "failed", "failed", str(told)
        with suppress(OSError, AltUBError):
            run.write_status(status)
        raise told from error
    with _children_lock:
        _children[:] = [child for child in _children if child.poll() is None]  # reaps the ended ones
        _children.append(process)
