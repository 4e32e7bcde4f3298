"""Everything that a training writes or tells: status, events, base history, checkpoint and model of its run directory.

The loop trains and asks the recorder to note what happened. Nothing else in a training touches the disk, apart from
features that do not fit into memory.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import ValidationError

from altub.errors import AltUBError, RunError
from altub.training.checkpoint import load_checkpoint, save_checkpoint
from altub.training.epoch import model_info
from altub.training.records import EpochRecord
from altub.training.state import TrainingState
from altub.training.status import Status
from altub.training.time_left import TimeLeft

if TYPE_CHECKING:
    from altub.runs.run import Run
    from altub.training.config import TrainingConfig
    from altub.training.preparation import Prepared
    from altub.training.steps import Alternation

__all__ = ["Recorder", "SilentRecorder", "StopRequested", "TrainingEvent"]

STATUS_INTERVAL = 0.5  # seconds between two writes of status.json while nothing but numbers changes


class StopRequested(Exception):  # noqa: N818 - not an error: it unwinds the loop when a stop was asked for
    """The user or the system wants the training to stop; what is needed to resume is saved."""


@dataclass(frozen=True)
class TrainingEvent:
    """kind "progress": something moved, see `status`. "start": `record` is epoch 0, before the first step. "epoch":
    `record` is the new line of events.jsonl. "stopped" and "finished" come last."""

    kind: Literal["progress", "start", "epoch", "stopped", "finished"]
    status: Status
    record: EpochRecord | None = None


class Recorder:
    """Writes one run directory while it is trained.

    Args:
        run: the directory, whose lock the caller holds.
        should_stop: asked whenever something is told.
    """

    def __init__(self, run: Run, should_stop: Callable[[], bool]) -> None:
        self.run = run
        self.status = run.read_status()
        self._should_stop = should_stop
        self._history: list[tuple[np.ndarray, np.ndarray]] = []
        self._training: tuple[Prepared, Alternation, TrainingState] | None = None
        self._seconds_before = self.status.seconds  # of earlier processes
        self._started = time.monotonic()
        self._left = TimeLeft(0, 1, self._started)
        self._before, self._in_all = 0, 1  # steps of completed epochs, of all
        self._last_write = 0.0

    # Before the first step.

    def queue(self, config: TrainingConfig) -> None:
        """The run waits in the queue, held by this process."""
        self.status.to_queued(pid=os.getpid())
        # What was noted before a stop still holds, except for what the settings of that time gave rise to.
        earlier = config.model_copy(update={"epochs": self.status.epochs or config.epochs}).notes
        kept = [note for note in self.status.notes if note not in earlier]
        self.status.epochs, self.status.notes = config.epochs, [*config.notes, *kept]
        self.run.write_status(self.status)

    def begin(self) -> None:
        """The queue has ended. Waiting is not training: the seconds count from here."""
        self._started = time.monotonic()
        self.status.to_running()

    def tell_each(self, stages: Iterable[str]) -> Iterator[TrainingEvent]:
        """`tell` for what a generator yields; gives its return value."""
        stages = iter(stages)
        while True:
            try:
                stage = next(stages)
            except StopIteration as end:
                return end.value
            yield self.tell(stage)

    def resume(self, parts: Prepared, updates: Alternation, state: TrainingState) -> None:
        """Takes weights, optimisers and counters from the checkpoint, if there is one; from now on a stop writes one.

        Raises:
            RunError: the checkpoint is damaged, or the data changed since.
        """
        run = self.run
        if run.checkpoint_file.exists():
            counters, is_previous = load_checkpoint(run.checkpoint_file, parts.pyramid, updates.optimizers)
            try:
                state.restore(counters)
            except ValidationError:
                raise RunError(
                    f"The checkpoint of run {run.id} is damaged: its counters are not a training's. Start a new run."
                ) from None
            except ValueError as error:
                raise RunError(f"The data of run {run.id} changed since its checkpoint: {error}.") from error
            if is_previous:
                self.status.notes.append(
                    f"The last checkpoint is damaged; training goes on from the one before it (epoch {state.epoch})."
                )
        # Rows of epochs that the checkpoint does not know were written by a process that was killed.
        run.keep_events(state.epoch if (state.epoch, state.step) != (0, 0) else -1)
        self._history = [(mean[: state.epoch + 1], std[: state.epoch + 1]) for mean, std in run.base_history()]
        if not self._history or len(self._history[0][0]) != state.epoch + 1:
            self._history = [(np.zeros_like(mean)[None], np.zeros_like(std)[None]) for mean, std in _bases(parts)]
            run.write_base_history(self._history)  # row 0: every base starts at N(0, I)
        self.status.epoch, self.status.step = state.epoch, state.step
        self._training = parts, updates, state
        self._before, self._in_all = self._steps_until(state.epoch), self._steps_until(parts.config.epochs)
        self._left = TimeLeft(self._before + state.step, self._in_all, time.monotonic())

    # While training.

    def tell(self, stage: str, now: bool = False) -> TrainingEvent:
        """Shows what is being done; written at most every half second unless the words change.

        Raises:
            StopRequested: somebody wants the training to stop.
        """
        changed = _without_numbers(stage) != _without_numbers(self.status.stage)
        self.status.stage = stage
        if now or changed or time.monotonic() - self._last_write > STATUS_INTERVAL:
            self._write_status()
        self.check_stop()
        return TrainingEvent("progress", self.status)

    def step_done(self, phase: str, steps: int, loss: float | None) -> TrainingEvent:
        """One step (or a whole turn in closed form) is done; `loss` is the epoch's mean so far, in nats per dimension.

        Args:
            phase: whose turn it was.
            steps: of the running epoch, over all of its passes.
        """
        parts, _, state = self._training
        status, epochs = self.status, parts.config.epochs
        status.phase, status.step, status.steps, status.loss = phase, state.step, steps, loss
        done = self._before + state.step
        status.progress = done / self._in_all
        status.seconds_left = self._left.step(done, time.monotonic())
        return self.tell(f"training, epoch {state.epoch + 1} of {epochs}")

    def check_stop(self) -> None:
        """Raises StopRequested if somebody wants the training to stop; its state is saved first."""
        if self._should_stop():
            if self._training is not None:  # before that there is nothing that a restart would not make again
                self._save_checkpoint()
            raise StopRequested

    def start_done(self, record: EpochRecord) -> TrainingEvent:
        """Writes the line of epoch 0 and its model: heatmaps to look at before the first step is made."""
        parts, _, _ = self._training
        self.run.append_event(record)
        parts.detector.info = model_info(parts, record)
        parts.detector.save(self.run.model_dir)
        self.tell("training, epoch 1", now=True)
        return TrainingEvent("start", self.status, record)

    def epoch_done(self, record: EpochRecord) -> TrainingEvent:
        """Writes the epoch's line, the base's history, the model and, last, the checkpoint; `state` counts it now."""
        parts, _, state = self._training
        self._history = [
            (np.concatenate([means, mean[None]]), np.concatenate([stds, std[None]]))
            for (means, stds), (mean, std) in zip(self._history, _bases(parts), strict=True)
        ]
        self.run.append_event(record)
        self.run.write_base_history(self._history)
        parts.detector.info = model_info(parts, record)
        parts.detector.save(self.run.model_dir)
        state.finish_epoch()
        self._save_checkpoint()
        self._before = self._steps_until(state.epoch)
        self.status.epoch, self.status.step = state.epoch, 0
        self.status.progress = self._before / self._in_all
        self.status.seconds_left = self._left.epoch(self._before, time.monotonic())
        self.tell(f"epoch {state.epoch} done", now=True)
        return TrainingEvent("epoch", self.status, record)

    def calibrated(self) -> TrainingEvent:
        """Writes the model again: after the last epoch its calibration changed, its weights did not."""
        parts, _, _ = self._training
        parts.detector.save(self.run.model_dir)
        return self.tell("calibrated", now=True)

    # The end.

    def stopped(self) -> TrainingEvent:
        self.status.to_stopped()
        self._write_status()
        self.run.clear_stop()
        return TrainingEvent("stopped", self.status)

    def finished(self) -> TrainingEvent:
        self.status.to_finished()
        self._write_status()
        return TrainingEvent("finished", self.status)

    def failed(self, message: str) -> None:
        self.status.to_failed(message)
        with suppress(AltUBError, OSError):  # a full disk: the freed lock tells the watchers, the error goes on up
            self._write_status()

    def _write_status(self) -> None:
        self.status.seconds = self._seconds_before + time.monotonic() - self._started
        self.run.write_status(self.status)
        self._last_write = time.monotonic()

    def _save_checkpoint(self) -> None:
        parts, updates, state = self._training
        save_checkpoint(self.run.checkpoint_file, parts.pyramid, updates.optimizers, state.counters())

    def _steps_until(self, epoch: int) -> int:
        """Steps of all turns from the start to the end of `epoch`."""
        parts, _, state = self._training
        return state.steps_per_pass * sum(len(parts.config.base.epoch_turns(e)) for e in range(1, epoch + 1))


class SilentRecorder(Recorder):
    """Of a process that trains along with the one that writes: the same steps, and nothing on the disk."""

    def queue(self, config: TrainingConfig) -> None:
        self.status.epochs = config.epochs

    def resume(self, parts: Prepared, updates: Alternation, state: TrainingState) -> None:
        if self.run.checkpoint_file.exists():
            counters, _ = load_checkpoint(self.run.checkpoint_file, parts.pyramid, updates.optimizers)
            state.restore(counters)
        self._training = parts, updates, state
        self._before, self._in_all = self._steps_until(state.epoch), self._steps_until(parts.config.epochs)
        self._left = TimeLeft(self._before + state.step, self._in_all, time.monotonic())

    def epoch_done(self, record: EpochRecord) -> TrainingEvent:
        _, _, state = self._training
        state.finish_epoch()
        self._before = self._steps_until(state.epoch)
        return TrainingEvent("progress", self.status)

    def stopped(self) -> TrainingEvent:
        return TrainingEvent("stopped", self.status)

    def failed(self, message: str) -> None:
        pass

    def _write_status(self) -> None:
        pass

    def _save_checkpoint(self) -> None:
        pass


def _bases(parts: Prepared) -> list[tuple[np.ndarray, np.ndarray]]:
    """Copies of every scale's mu and log sigma."""
    return [
        (base.mean.detach().cpu().numpy().copy(), base.log_std.detach().cpu().numpy().copy())
        for base in parts.pyramid.bases
    ]


def _without_numbers(stage: str) -> str:
    return re.sub(r"\d+", "", stage)
