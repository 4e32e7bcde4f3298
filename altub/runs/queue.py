"""Trainings that are started, resumed and stopped, and the queue in which those of this machine wait.

The queue needs no master: every waiting trainer looks at the runs folder and starts when no earlier one is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from altub.errors import RunError
from altub.runs.launchers.base import Launcher, find_launcher
from altub.runs.run import Run, list_runs, new_run_id
from altub.settings import max_jobs, runs_root
from altub.training.config import TrainingConfig

__all__ = ["move", "position_in_queue", "resume", "start", "stop", "wait_for_turn", "waiting"]

QUEUE_POLL = 0.5  # seconds between two looks at the queue


def start(config: TrainingConfig, root: Path | None = None, launcher: Launcher | None = None) -> Run:
    """Creates a run and starts (or queues) its training; returns at once.

    Args:
        root: the runs folder.
        launcher: what trains it; default a process of this machine.

    Raises:
        DiskFullError: the run directory could not be written.
        RunError: the training could not be started.
    """
    run = Run.create((root or runs_root()) / new_run_id(config.category), config)
    find_launcher(run, launcher).start(run)
    return run


def resume(run: Run, launcher: Launcher | None = None) -> None:
    """Starts the training of a stopped, interrupted or failed run again, from its last checkpoint.

    Args:
        launcher: for a run that any launcher of this machine may train; default a process.

    Raises:
        RunError: it is being trained, waits in the queue, or is finished.
        AltUBError: the training could not be started.
    """
    state = run.status.state
    if state in ("queued", "running"):
        raise RunError(f"Run {run.id} is {state} already.")
    if state == "finished":
        raise RunError(f"Run {run.id} is finished: there is nothing left to train.")
    find_launcher(run, launcher).resume(run)


def stop(run: Run) -> str:
    """Asks a queued or running training to stop, which it does within a step or two; what it has learned is kept.

    Returns:
        What happens now, in a sentence.

    Raises:
        RunError: nothing trains this run.
        AltUBError: it could not be asked.
    """
    state = run.status.state
    if state not in ("queued", "running"):
        raise RunError(f"Run {run.id} is not being trained: it is {state}.")
    return find_launcher(run).stop(run)


def wait_for_turn(run: Run, should_stop: Callable[[], bool]) -> bool:
    """Blocks until a queued training may start; False if it was stopped while it waited.

    Args:
        should_stop: asked between looks; a stop is also taken from the run directory.
    """
    while not (should_stop() or run.stop_requested()):
        if position_in_queue(run) == 0:
            return True
        time.sleep(QUEUE_POLL)
    return False


def waiting(root: Path | None = None) -> list[Run]:
    """The trainings of this machine that wait, the next one first."""
    found = []
    for run in list_runs(root):
        if find_launcher(run).is_local and (status := run.status).state == "queued":
            found.append((status.queued_at, run.id, run))
    return [run for _, _, run in sorted(found, key=lambda entry: entry[:2])]


def move(run: Run, places: int) -> None:
    """Moves a waiting training forward (places < 0) or back in the queue, as far as there are others.

    Raises:
        RunError: it does not wait any more.
    """
    order = waiting(run.path.parent)
    at = next((k for k, other in enumerate(order) if other.id == run.id), None)
    if at is None:
        raise RunError(f"Run {run.id} does not wait any more: it has started, or was stopped.")
    goal = min(max(at + places, 0), len(order) - 1)
    times = [other.read_status().queued_at for other in order]
    moved = [other for other in order if other.id != run.id]
    moved.insert(goal, run)
    # The same times, in the new order: nobody else's place changes.
    for other, time_queued, before in zip(moved, times, order, strict=True):
        if other.id == before.id:
            continue
        with other.changing_status() as status:
            if status.state == "queued":  # it may have started meanwhile
                status.queued_at = time_queued


def position_in_queue(run: Run) -> int:
    """How many other trainings must end before this one may start; 0 = it may."""
    root = run.path.parent
    mine = (run.read_status().queued_at, run.id)
    running, before = 0, 0
    for other in list_runs(root):
        if other.id == run.id or not find_launcher(other).is_local:
            continue
        status = other.status
        if status.state == "running":
            running += 1
        elif status.state == "queued" and (status.queued_at, other.id) < mine:
            before += 1
    return max(running + before - max_jobs() + 1, 0)
