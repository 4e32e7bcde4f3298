"""The run directory: the only thing a trainer and its watchers share.

    runs/<id>/
      config.json         what was asked for (TrainingConfig)
      status.json         queued | running | stopped | failed | finished, progress, the error in words
      events.jsonl        one line an epoch
      data.json           which images are trained on, held out and tested, each with its SHA-256
      base_history.npz    head<k>_mean and head<k>_log_std, (epochs, C) each
      checkpoint/         state.safetensors: all that exact resume needs
      model/              what AnomalyDetector.load reads
      examples/           heatmap data of a few images, for watching
      cache/              features that do not fit into memory, while it is trained
      rescoring/          energies for other read-outs (altub.evaluation.energy_cache); can be deleted at any time
      notes.json          what people say about it: name, tags, notes (altub.runs.notes)
      run.lock, stop      held by the trainer; a request to stop
      train.log           what the training process printed
      remote.json         only if it is trained on Hugging Face Jobs: which job, and where its mirror is

Everything is replaced in one step (temporary file, rename), so a reader never sees half a file.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
from pydantic import ValidationError

from altub.errors import AltUBError, RunError, validation_problem
from altub.files import explain_full_disk, read_bytes, read_json, write_atomically, write_json
from altub.runs.base_history import read_base_history, write_base_history
from altub.settings import runs_root
from altub.training.config import TrainingConfig
from altub.training.records import EpochRecord, best_record, parse_records
from altub.training.status import ENDED, State, Status

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ENDED", "REMOTE_FILE", "Run", "State", "Status", "list_runs", "new_run_id", "remove_left_caches"]

REMOTE_FILE = "remote.json"  # which job of Hugging Face Jobs trains the run
STARTING_PATIENCE = 60.0  # seconds that a process may take to import and take its run's lock
#: File in a run directory -> the launcher that alone trains the run; a run without one is trained on this machine.
LAUNCHER_FILES = {REMOTE_FILE: "hf_jobs"}
LOCK_PATIENCE = 3.0  # seconds; a watcher that asks whether the run is alive holds the lock for an instant
GLANCE = 0.002  # seconds; as long as a watcher looks, so that it does not take another watcher for a trainer


class Run:
    """One run directory. Opening is cheap; every read goes to the disk."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def model_dir(self) -> Path:
        return self.path / "model"

    @property
    def checkpoint_file(self) -> Path:
        return self.path / "checkpoint" / "state.safetensors"

    @property
    def data_file(self) -> Path:
        return self.path / "data.json"

    @property
    def log_file(self) -> Path:
        return self.path / "train.log"

    @property
    def examples_dir(self) -> Path:
        return self.path / "examples"

    # Making and opening.

    @classmethod
    def create(cls, path: str | Path, config: TrainingConfig) -> Run:
        """A new run directory at `path`, which may hold a run that ended before it had anything to keep.

        Raises:
            RunError: it holds a run with progress, or something that is not a run.
            DiskFullError: no room.
        """
        run = cls(path)
        try:
            with explain_full_disk(run.path):
                run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"No run can be kept in {run.path}: {error.strerror}. Choose another directory.") from error
        if os.path.lexists(run.path / "config.json"):
            run._clear_for_another_try()
        remove_left_caches(run.path.parent)  # the moment when the disk is needed
        write_json(run.path / "config.json", config.model_dump(mode="json"))
        now = time.time()
        run.write_status(Status(state="queued", stage="starting", epochs=config.epochs, created=now, queued_at=now))
        return run

    def _clear_for_another_try(self) -> None:
        """Removes what a run left that ended before its first checkpoint: its base history and model may not fit."""
        try:
            self.config  # noqa: B018 - is it a run's at all?
        except RunError:
            raise RunError(
                f"{self.path} holds a config.json that is not a run's, which would be lost. Choose another directory."
            ) from None
        if self.has_progress:
            raise RunError(
                f"{self.path} already holds a run. Add --resume to continue it, or choose another directory."
            )
        if self.status.state in ("queued", "running"):
            raise RunError(f"The run in {self.path} is being trained right now: watch it, or choose another directory.")
        for name in ("events.jsonl", "base_history.npz", "stop"):
            (self.path / name).unlink(missing_ok=True)
        for name in ("model", "examples"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run at `path`; RunError where there is none."""
        run = cls(path)
        if not os.path.isfile(run.path / "config.json"):
            raise RunError(f"{run.path} holds no run: there is no config.json in it.")
        return run

    @classmethod
    def find(cls, run_id: str, root: Path | None = None) -> Run:
        """The run with this id under the runs folder; an id from outside never leads out of it.

        Raises:
            RunError: there is none; the message names no folder of this machine.
        """
        # One name of a folder that is not hidden: no separators of any system, no drive letters, no control characters.
        if not re.fullmatch(r"[^./\\:\x00-\x1f\x7f][^/\\:\x00-\x1f\x7f]{0,127}", run_id):
            raise RunError("That is not the id of a run.")
        run = cls((root or runs_root()) / run_id)
        if not os.path.isfile(run.path / "config.json"):
            raise RunError(f"There is no run {run_id}: it may have been removed.")
        return run

    @property
    def config(self) -> TrainingConfig:
        """What was asked for; RunError where config.json is missing or damaged."""
        try:
            return TrainingConfig.stored(read_json(self.path / "config.json"))
        except ValidationError as error:
            raise RunError(
                f"config.json of run {self.id} is damaged or of another version of AltUB ({validation_problem(error)})."
            ) from error
        except (OSError, ValueError) as error:
            raise RunError(f"config.json of run {self.id} cannot be read ({error}).") from error

    def replace_config(self, config: TrainingConfig) -> None:
        write_json(self.path / "config.json", config.model_dump(mode="json"))

    @property
    def launcher(self) -> str | None:
        """Name of the launcher that alone trains this run, on another machine of which this directory is a copy; None:
        this machine trains it."""
        return next((name for file, name in LAUNCHER_FILES.items() if os.path.isfile(self.path / file)), None)

    @property
    def has_progress(self) -> bool:
        """Is there something that a resume continues from?"""
        return self.checkpoint_file.exists() or self.launcher is not None

    # Status.

    def read_status(self) -> Status:
        """The status as it was last written."""
        try:
            return Status.model_validate(read_json(self.path / "status.json"))
        except (OSError, ValueError):  # also no UTF-8, no JSON, no Status: all of them are ValueErrors
            return Status(message="status.json is missing or damaged.")

    @property
    def status(self) -> Status:
        """The status, with a trainer that exited unexpectedly shown as "interrupted"."""
        status = self.read_status()
        if self.launcher is not None:  # no process of this machine holds it; a follower writes the status
            return status
        # A queued run has no trainer between the click and the start of its process.
        waited = abs(time.time() - status.queued_at)  # a clock that was set back makes it negative
        starting = status.state == "queued" and status.pid is None and waited < STARTING_PATIENCE
        if status.state in ("queued", "running") and not starting and not self.is_alive():
            status = self.read_status()  # it may have ended between the two looks
            if status.state in ("queued", "running"):
                status.state = "interrupted"
                status.message = (
                    f"The training process exited unexpectedly after epoch {status.epoch} "
                    "(killed, out of memory, or the machine restarted). Resume continues from there."
                )
        return status

    def write_status(self, status: Status) -> None:
        status.updated = time.time()
        write_json(self.path / "status.json", status.model_dump(mode="json"))

    @contextmanager
    def changing_status(self) -> Iterator[Status]:
        """The status as it was last written, to be changed inside the block and written at its end."""
        status = self.read_status()
        yield status
        self.write_status(status)

    def mark_queued(self, stage: str = "starting") -> None:
        """Puts the run at the end of the queue, where it waits for a trainer."""
        with self.changing_status() as status:
            status.to_queued(stage)
            status.queued_at, status.seconds_left = time.time(), None

    def mark_failed(self, reason: object) -> None:
        """Notes why the run ended; if the disk does not take it, the freed lock tells the watchers."""
        with suppress(AltUBError, OSError), self.changing_status() as status:
            status.to_failed(str(reason))

    # The lock: held by the process that trains.

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for this process.

        Raises:
            RunError: another process trains it.
        """
        lock = self._lock()
        try:
            lock.acquire(timeout=LOCK_PATIENCE)
        except filelock.Timeout:
            pid = self.read_status().pid
            who = f" (process {pid})" if pid else ""
            raise RunError(
                f"Run {self.id} is already being trained{who}. Watch it, or stop it first; nothing was changed."
            ) from None
        except OSError as error:  # Timeout is one, too
            raise RunError(
                f"{self.path} cannot be written ({error.strerror}): train as the user it belongs to, or copy the run."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def is_alive(self) -> bool:
        """Does a process hold the run? The operating system frees the lock of a killed one."""
        if not os.path.exists(self.path / "run.lock"):  # asking must not make one, nor the folder of a removed run
            return False
        lock = self._lock()
        try:
            lock.acquire(timeout=GLANCE, poll_interval=GLANCE / 4)
        except filelock.Timeout:
            return True
        lock.release()
        return False

    def _lock(self) -> filelock.FileLock:
        return filelock.FileLock(self.path / "run.lock", is_singleton=False)

    def remove_left_cache(self) -> None:
        """Removes the cached features of a killed trainer; does nothing while the run is being trained."""
        if not os.path.isdir(self.path / "cache"):
            return
        lock = self._lock()
        with suppress(OSError):  # a run of another user: its disk is not ours to free; filelock.Timeout is one
            lock.acquire(timeout=GLANCE, poll_interval=GLANCE / 4)
            try:
                shutil.rmtree(self.path / "cache", ignore_errors=True)
            finally:
                lock.release()

    # Stopping.

    def request_stop(self) -> None:
        """Asks the trainer to stop after the current step."""
        write_atomically(self.path / "stop", b"")

    def stop_requested(self) -> bool:
        return (self.path / "stop").exists()

    def clear_stop(self) -> None:
        (self.path / "stop").unlink(missing_ok=True)

    # Events and base history: one entry an epoch.

    def events(self, start: bool = False) -> list[EpochRecord]:
        """The epochs so far; a damaged line is left out.

        Args:
            start: begin with epoch 0, where it was recorded: what the features and their norm give without training.
        """
        return [record for _, record in self._event_lines() if start or record.epoch > 0]

    def _event_lines(self) -> list[tuple[str, EpochRecord]]:
        try:
            text = read_bytes(self.path / "events.jsonl").decode(errors="replace")
        except OSError:
            return []
        return parse_records(text)

    def append_event(self, record: EpochRecord) -> None:
        path = self.path / "events.jsonl"
        with explain_full_disk(path), path.open("a", encoding="utf-8") as file:
            file.write(record.line())
            file.flush()
            os.fsync(file.fileno())  # as sure to be there as the checkpoint that counts on it

    def keep_events(self, last_epoch: int) -> None:
        """Drops what was written after `last_epoch`: a killed trainer repeats those epochs."""
        kept = [line + "\n" for line, record in self._event_lines() if record.epoch <= last_epoch]
        write_atomically(self.path / "events.jsonl", "".join(kept).encode())

    def replace_events(self, records: Iterable[EpochRecord]) -> None:
        """All epochs at once, as they came from elsewhere."""
        write_atomically(self.path / "events.jsonl", "".join(record.line() for record in records).encode())

    def base_history(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `read_base_history`."""
        return read_base_history(self.path / "base_history.npz")

    def write_base_history(self, history: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        write_base_history(self.path / "base_history.npz", history)

    # Metrics.

    def last_and_best(self) -> tuple[EpochRecord | None, EpochRecord | None]:
        """The last evaluated epoch, and the best one *chosen on the test set*; None where none was evaluated."""
        evaluated = [record for record in self.events() if record.test is not None]
        return (evaluated[-1] if evaluated else None), best_record(evaluated)


def new_run_id(category: str) -> str:
    """A readable id that no other run has: category, date and time, a few random digits."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", category).strip("-").lower()[:40] or "run"
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"


def list_runs(root: Path | None = None) -> list[Run]:
    """All runs under the runs folder, newest first. Folders that are none, or that cannot be read, are passed over."""
    root = root or runs_root()
    try:
        names = os.listdir(root)
    except OSError:
        return []
    runs = [Run(root / name) for name in names if name[0] != "." and os.path.isfile(root / name / "config.json")]
    return sorted(runs, key=lambda run: (run.read_status().created, run.id), reverse=True)


def remove_left_caches(root: Path | None = None) -> None:
    """`Run.remove_left_cache` for every run under the runs folder."""
    for run in list_runs(root):
        run.remove_left_cache()
