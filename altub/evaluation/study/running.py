"""Trains the runs of a study, each in a process of its own, several at a time; stops and goes on."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from altub.errors import AltUBError
from altub.evaluation.study.grid import PlannedRun
from altub.files import read_bytes
from altub.runs.launchers.process import spawn_training
from altub.runs.run import Run, Status
from altub.settings import feature_memory_bytes

__all__ = ["Progress", "run_study"]

POLL = 0.5  # seconds between two looks at the runs
_LOG_END = 4000  # bytes of a log that are searched for why a process ended


@dataclass(frozen=True)
class Progress:
    """finished, failed: how many ended so far. active: name and status of those that train. ended: name and status of
    those that ended since the last look. seconds_left: None until an epoch has been timed."""

    total: int
    finished: int
    failed: int
    active: Sequence[tuple[str, Status]]
    ended: Sequence[tuple[str, Status]]
    share: float
    seconds_left: float | None
    stopping: bool


@dataclass
class _Slot:
    """A training under way; `process` is None for one that an earlier, killed call has left running."""

    planned: PlannedRun
    device: str
    process: subprocess.Popen | None

    def has_ended(self) -> bool:
        if self.process is not None:
            return self.process.poll() is not None
        return self.planned.run.status.state not in ("queued", "running")


def run_study(
    planned: Sequence[PlannedRun],
    *,
    jobs: int | None = None,
    devices: Sequence[str] = ("auto",),
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> bool:
    """Trains what is not finished yet; False if it was stopped before all had ended. A run that fails does not end it.

    Args:
        jobs: trainings at a time, one for each device where not given. The cores and the memory for cached features are
            divided among them.
        devices: handed out in turn.
        should_stop: once it is true, every training saves its state and ends, and this returns.

    Raises:
        AltUBError: a run directory could not be written.
    """
    jobs = jobs or len(devices)
    waiting = [entry for entry in planned if not entry.is_done()]
    finished, failed = len(planned) - len(waiting), 0
    slots: list[_Slot] = []
    for entry in list(waiting):
        if entry.run.is_alive():
            slots.append(_Slot(entry, entry.run.config.device, None))
            waiting.remove(entry)
    clock = _Clock(planned)
    stopping = False
    try:
        while slots or (waiting and not stopping):
            stopping = stopping or should_stop()
            while waiting and not stopping and len(slots) < jobs:
                entry = waiting.pop(0)
                device = min(devices, key=lambda name: sum(slot.device == name for slot in slots))
                slots.append(_Slot(entry, device, _begin(entry, device, jobs)))
            if stopping:
                for slot in slots:  # at every look: a process that just starts clears wishes of before
                    slot.planned.run.request_stop()
            ended = [slot for slot in slots if slot.has_ended()]
            slots = [slot for slot in slots if slot not in ended]
            told = [(slot.planned.name, _final_status(slot)) for slot in ended]
            finished += sum(status.state == "finished" for _, status in told)
            failed += sum(status.state not in ("finished", "stopped") for _, status in told)
            for slot in ended:
                slot.planned.run.clear_stop()
            active = [(slot.planned.name, slot.planned.run.read_status()) for slot in slots]
            share, left = clock.read()
            on_progress(Progress(len(planned), finished, failed, active, told, share, left, stopping))
            if slots and not ended:
                time.sleep(POLL)
    except BaseException:  # a second Ctrl+C, or a bug: nothing may train on without anybody who watches it
        for slot in slots:
            if slot.process is not None:
                slot.process.kill()
                slot.process.wait()
        raise
    return not stopping or all(entry.is_done() for entry in planned)


class _Clock:
    """Time left, from the epochs trained since the beginning of this call."""

    def __init__(self, planned: Sequence[PlannedRun]) -> None:
        self.planned = planned
        self.total = sum(entry.config.epochs for entry in planned)
        self.began, self.done_before = time.monotonic(), self._done()

    def _done(self) -> float:
        return sum(min(entry.run.read_status().progress, 1.0) * entry.config.epochs for entry in self.planned)

    def read(self) -> tuple[float, float | None]:
        done = self._done()
        gained = done - self.done_before
        left = (time.monotonic() - self.began) * (self.total - done) / gained if gained > 0 else None
        return done / self.total, left


def _begin(entry: PlannedRun, device: str, jobs: int) -> subprocess.Popen:
    run = entry.run
    if run.path.exists():
        with run.changing_status() as status:
            if status.state in ("queued", "running"):  # nobody holds it: its process, or this study, was killed
                status.to_stopped(status.message)
    if run.checkpoint_file.exists():
        run.mark_queued()
    else:
        Run.create(run.path, entry.config.model_copy(update={"device": device}))
    return spawn_training(run, "--device", device, environment=_share(jobs), new_log=True)


def _share(jobs: int) -> dict[str, str]:
    """A job's share of the machine, as environment variables."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(KeyError, ValueError):  # a limit that was set for this process is one for all of them together
        cores = min(cores, int(dict(os.environ)["OMP_NUM_THREADS"]))
    threads = str(max(cores // jobs, 1))
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    return limits | {"ALTUB_FEATURE_MEMORY": str((feature_memory_bytes() >> 20) // jobs)}


def _final_status(slot: _Slot) -> Status:
    """How it ended; where a process exited unexpectedly, the end of its log goes into the status."""
    run = slot.planned.run
    status = run.read_status()
    if status.state in ("queued", "running"):
        code = "" if slot.process is None else f" (exit code {slot.process.returncode})"
        status.to_failed(_last_line(run) or f"The training process exited unexpectedly{code}.")
        with suppress(AltUBError, OSError):
            run.write_status(status)
    return status


def _last_line(run: Run) -> str:
    """The last line of the run's log."""
    try:
        text = read_bytes(run.log_file)[-_LOG_END:].decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ") if lines else ""
