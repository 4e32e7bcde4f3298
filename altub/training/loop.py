"""Alternating training: the flow and its base N(mu, Sigma) in turns, watched on held-out good images.

`train(run)` is a generator: it yields an event after every step and every epoch, writes nothing outside its run
directory and knows no user interface. The same run directory, killed at any moment and trained on, ends at the same
weights: every epoch draws its order from (seed, epoch) alone, and the checkpoint holds all other state.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from altub.errors import AltUBError, RunError
from altub.evaluation.evaluate import collect_maps
from altub.flows import CFlowHead, FlowPyramid
from altub.flows.base import latent_moments
from altub.inference.calibration import Calibration
from altub.inference.info import ImageCounts, ModelInfo
from altub.runs.run import Run, Status
from altub.training.checkpoint import load_checkpoint, save_checkpoint
from altub.training.preparation import prepare
from altub.training.records import BaseDrift, EpochRecord, Quantiles
from altub.training.steps import Alternation

__all__ = ["NonFiniteLossError", "TrainingEvent", "train"]

STATUS_INTERVAL = 0.5  # seconds between two writes of status.json within an epoch
EVALUATION_BATCH = 8


class NonFiniteLossError(AltUBError):
    """The loss became NaN or infinite; the last good state is kept."""


@dataclass(frozen=True)
class TrainingEvent:
    """kind "progress": something moved, see `status`. "epoch": `record` is the new line of events.jsonl.
    "stopped" and "finished" come last."""

    kind: Literal["progress", "epoch", "stopped", "finished"]
    status: Status
    record: EpochRecord | None = None


def train(
    run: Run, *, should_stop: Callable[[], bool] = lambda: False, wait: Callable[[Run], bool] = lambda run: True
) -> Iterator[TrainingEvent]:
    """Trains `run` from its checkpoint, or from the start if there is none, to its last epoch.

    Args:
        should_stop: asked between steps; a stop is also taken from the run directory (`Run.request_stop`).
        wait: called once the run is held, to wait in a queue; False means it was stopped meanwhile.

    Raises:
        RunError: another process trains this run.
        AltUBError: what went wrong, as also written to the status; what was trained so far is kept.
    """
    with run.lock():
        trainer = _Trainer(run, lambda: should_stop() or run.stop_requested())
        try:
            yield from trainer.run_to_end(wait)
        except AltUBError as error:
            trainer.fail(str(error))
            raise
        except GeneratorExit:
            trainer.say_stopped()
            raise
        except Exception as error:  # a bug or the machine: the watchers must learn of it before it goes on up
            trainer.fail(f"Unexpected {type(error).__name__}: {error}. The full report is in {run.log_file.name}.")
            raise
        finally:
            trainer.close()


class _Stopped(Exception):  # noqa: N818 - not an error: it unwinds the loop when a stop was asked for
    pass


@dataclass
class _EpochSums:
    """What an epoch has added up so far; part of the checkpoint, so that a stop within it loses nothing."""

    images: int = 0
    heads: list[float] = field(default_factory=list)
    base_steps: int = 0
    seconds: float = 0.0

    def add(self, per_head: list[float], images: int) -> None:
        self.heads = [a + b * images for a, b in zip(self.heads or [0.0] * len(per_head), per_head, strict=True)]
        self.images += images

    def means(self) -> list[float] | None:
        return [total / self.images for total in self.heads] if self.images else None


class _Trainer:
    def __init__(self, run: Run, should_stop: Callable[[], bool]) -> None:
        self.run, self.config, self.should_stop = run, run.config, should_stop
        self.status = run.read_status()
        self.stack = ExitStack()
        self.epoch, self.step = 0, 0  # completed epochs, completed steps of the running one
        self.sums = _EpochSums()
        self.prepared = False
        self.history: list[tuple[np.ndarray, np.ndarray]] = []
        self.seconds_before = self.status.seconds  # of earlier processes
        self.started = time.monotonic()
        self.last_write = 0.0

    # The whole job, in order.

    def run_to_end(self, wait: Callable[[Run], bool]) -> Iterator[TrainingEvent]:
        config, status = self.config, self.status
        status.state, status.stage, status.message, status.pid = "queued", "waiting for its turn", "", os.getpid()
        status.epochs, status.notes = config.epochs, list(config.notes)
        self.run.write_status(status)
        may_go_on = wait(self.run)
        self.started = time.monotonic()  # waiting is not training
        if not may_go_on:
            yield self.say_stopped()
            return
        status.state = "running"
        try:
            self.parts = yield from prepare(self.run, self.config, status, self.stack, self.tell)
            self.config = self.parts.config
            self.alternation = Alternation(self.config, self.parts.pyramid, self.parts.autocast, self.parts.workers)
            self.steps = math.ceil(len(self.parts.trained) / self.config.batch_size)
            status.steps = self.steps
            self.resume_or_begin()
            config = self.config
            in_all, progress_began = self.steps_until(config.epochs), self.steps_until(self.epoch) + self.step
            training_began = time.monotonic()
            while self.epoch < config.epochs:
                before = self.steps_until(self.epoch)
                for _ in self.train_epoch():
                    done = before + self.step
                    status.progress = done / in_all
                    pace = (time.monotonic() - training_began) / max(done - progress_began, 1)
                    status.seconds_left = pace * (in_all - done)
                    yield self.tell(f"training, epoch {self.epoch + 1} of {config.epochs}")
                yield from self.finish_epoch()
        except _Stopped:
            yield self.say_stopped()
            return
        status.state, status.stage, status.phase = "finished", "finished", ""
        status.progress, status.seconds_left, status.step = 1.0, 0.0, 0
        self.write_status()
        yield TrainingEvent("finished", status)

    def steps_until(self, epoch: int) -> int:
        """Steps of all turns from the start to the end of `epoch`."""
        return self.steps * sum(len(self.config.base.epoch_turns(e)) for e in range(1, epoch + 1))

    def resume_or_begin(self) -> None:
        if self.run.checkpoint_file.exists():
            counters = load_checkpoint(self.run.checkpoint_file, self.parts.pyramid, self.alternation.optimizers)
            self.epoch, self.step = counters["epoch"], counters["step"]
            if counters["steps"] != self.steps:
                raise RunError(
                    f"The data of run {self.run.id} changed since its checkpoint: an epoch had {counters['steps']} "
                    f"steps and has {self.steps} now. Start a new run."
                )
            self.sums = _EpochSums(**counters["sums"])
        # Rows of epochs that the checkpoint does not know were written by a process that was killed.
        self.run.keep_events(self.epoch)
        self.history = [(mean[: self.epoch + 1], std[: self.epoch + 1]) for mean, std in self.run.base_history()]
        if not self.history or len(self.history[0][0]) != self.epoch + 1:
            self.history = [(np.zeros_like(mean)[None], np.zeros_like(std)[None]) for mean, std in self.base_values()]
            self.run.write_base_history(self.history)  # row 0: every base starts at N(0, I)
        self.status.epoch, self.status.step = self.epoch, self.step
        self.prepared = True

    # One epoch.

    def train_epoch(self) -> Iterator[None]:
        """The steps of epoch `self.epoch + 1` that are not done yet; one pass over the data for every turn in it."""
        epoch, config = self.epoch + 1, self.config
        turns = config.base.epoch_turns(epoch)
        generator = torch.Generator().manual_seed(_mix(config.seed, epoch))
        order = torch.randperm(len(self.parts.trained), generator=generator).tolist()
        self.status.steps = len(turns) * self.steps
        while self.step < len(turns) * self.steps:
            passes, step = divmod(self.step, self.steps)
            self.status.phase = turns[passes]
            if turns[passes] == "base" and config.base.base_update == "moments":
                yield from self.moments_turn(passes)
                continue
            began = time.monotonic()
            indices = order[step * config.batch_size : (step + 1) * config.batch_size]
            features = self.parts.trained.batch(indices, epoch)
            global_step = self.epoch * self.steps + step + 1
            progress = (global_step - 1) / (config.epochs * self.steps)
            for turn in config.base.step_turns(global_step) if turns[passes] == "flow" else ("base",):
                losses = self.alternation.step(features, turn, epoch, global_step, progress)
                if not all(map(math.isfinite, losses)):
                    raise self.non_finite(epoch)
                if turn == "flow" or not config.base.on_top:  # every image counts once in the epoch's loss
                    self.sums.add(losses, len(indices))
                self.sums.base_steps += turn == "base"
            self.sums.seconds += time.monotonic() - began
            self.step += 1
            self.status.step, self.status.loss = self.step, _overall(self.sums.means(), self.parts.pyramid)
            yield
            self.stop_if_asked()

    def moments_turn(self, passes: int) -> Iterator[None]:
        """The base's turn in closed form, after so many `passes` of this epoch.

        mu and sigma become the moments of z over the training set.
        """
        began = time.monotonic()

        def latents() -> Iterator[list[Tensor]]:
            with torch.no_grad():
                for _, features in self.parts.trained.batches(EVALUATION_BATCH):
                    normalised = self.parts.pyramid.normalise(features)
                    with self.parts.autocast():
                        pairs = self.parts.pyramid.latents(normalised)
                    yield [z for z, _ in pairs]
                    self.stop_if_asked()

        for base, (mean, std) in zip(self.parts.pyramid.bases, latent_moments(latents()), strict=True):
            base.set_moments(mean, std)
        self.sums.base_steps = 1
        self.sums.seconds += time.monotonic() - began
        self.step = (passes + 1) * self.steps
        self.status.step, self.status.loss = self.step, _overall(self.sums.means(), self.parts.pyramid)
        yield

    def finish_epoch(self) -> Iterator[TrainingEvent]:
        """Held-out loss, calibration, test metrics; then everything goes to the disk, the checkpoint last."""
        epoch = self.epoch + 1
        yield self.tell(f"evaluating epoch {epoch}", now=True)
        self.fit_offsets()
        held_maps, held_scores, held_losses = collect_maps(
            self.parts.detector, self.parts.held_out, EVALUATION_BATCH, self.parts.workers, loss=True
        )
        if not all(map(math.isfinite, held_losses)) or not np.isfinite(held_scores).all():
            raise self.non_finite(epoch)
        self.parts.detector.calibration = Calibration.fit(held_scores, held_maps, peaks=held_maps.max(axis=(1, 2)))

        test = None
        if len(self.parts.tested) and (epoch % self.config.evaluate_every == 0 or epoch == self.config.epochs):
            maps, scores, _ = collect_maps(self.parts.detector, self.parts.tested, EVALUATION_BATCH, self.parts.workers)
            test = self.parts.test.evaluate(maps, scores)
            self.parts.examples.write(epoch, maps, self.parts.detector.calibration)
        elif not len(self.parts.tested):
            self.parts.examples.write(epoch, held_maps, self.parts.detector.calibration)
        self.stop_if_asked()  # nothing is written yet: resuming computes this epoch's end again

        self.history = [
            (np.concatenate([means, mean[None]]), np.concatenate([stds, std[None]]))
            for (means, stds), (mean, std) in zip(self.history, self.base_values(), strict=True)
        ]
        means = self.sums.means()
        record = EpochRecord(
            epoch=epoch,
            phase="both" if len(turns := self.config.base.epoch_turns(epoch)) > 1 else turns[0],
            loss=_overall(means, self.parts.pyramid),
            loss_heads=means and _per_dimension(means, self.parts.pyramid),
            held_out=_overall(held_losses, self.parts.pyramid),
            held_out_heads=_per_dimension(held_losses, self.parts.pyramid),
            base=[_drift(mean, log_std) for mean, log_std in self.base_values()],
            base_steps=self.sums.base_steps,
            test=test,
            seconds=self.sums.seconds,
            images_per_second=len(self.parts.trained) / max(self.sums.seconds, 1e-9),
            lr=self.alternation.lr_now,
        )
        self.run.append_event(record)
        self.run.write_base_history(self.history)
        self.epoch, self.step, self.sums = epoch, 0, _EpochSums()
        self.save_model(record)
        self.save_checkpoint()
        self.status.epoch, self.status.step = epoch, 0
        self.status.progress = self.steps_until(epoch) / self.steps_until(self.config.epochs)
        yield TrainingEvent("epoch", self.tell(f"epoch {epoch} done", now=True).status, record)

    @torch.no_grad()
    def fit_offsets(self) -> None:
        """Where CFLOW's energies begin: at the least of every scale in the held-out good images."""
        heads = self.parts.pyramid.heads
        if not isinstance(heads[0], CFlowHead):
            return

        def least(features: list[Tensor]) -> list[Tensor]:
            return [energy.amin() for energy in self.parts.pyramid.energy_maps(self.parts.pyramid.normalise(features))]

        pieces = list(
            self.parts.workers.map(least, (features for _, features in self.parts.held_out.batches(EVALUATION_BATCH)))
        )
        for head, values in zip(heads, zip(*pieces, strict=True), strict=True):
            head.offset.copy_(torch.stack(values).amin())

    # Writing.

    def save_checkpoint(self) -> None:
        counters = {"epoch": self.epoch, "step": self.step, "steps": self.steps, "sums": vars(self.sums)}
        save_checkpoint(self.run.checkpoint_file, self.parts.pyramid, self.alternation.optimizers, counters)

    def save_model(self, record: EpochRecord) -> None:
        self.parts.detector.info = ModelInfo(
            category=self.parts.category.name,
            epoch=record.epoch,
            metrics=record.test,
            held_out=record.held_out,
            training=self.config.model_dump(mode="json", exclude={"data"}),
            images=ImageCounts(
                trained=len(self.parts.trained), held_out=len(self.parts.held_out), test=len(self.parts.tested)
            ),
        )
        self.parts.detector.save(self.run.model_dir)

    def tell(self, stage: str, now: bool = False) -> TrainingEvent:
        """Shows `stage` in the status, at most every half second unless it must be seen."""
        self.status.stage = stage
        if now or time.monotonic() - self.last_write > STATUS_INTERVAL:
            self.write_status()
        self.stop_if_asked()
        return TrainingEvent("progress", self.status)

    def write_status(self) -> None:
        self.status.seconds = self.seconds_before + time.monotonic() - self.started
        self.run.write_status(self.status)
        self.last_write = time.monotonic()

    def stop_if_asked(self) -> None:
        if self.should_stop():
            if self.prepared:  # before that there is nothing that a restart would not make again
                self.save_checkpoint()
            raise _Stopped

    def say_stopped(self) -> TrainingEvent:
        self.status.state, self.status.stage, self.status.phase = "stopped", "stopped", ""
        self.status.seconds_left = None
        self.status.message = (
            f"Stopped after epoch {self.status.epoch}"
            + (f" and step {self.status.step}" if self.status.step else "")
            + "."
        )
        self.write_status()
        self.run.clear_stop()
        return TrainingEvent("stopped", self.status)

    def fail(self, message: str) -> None:
        self.status.state, self.status.stage, self.status.message = "failed", "failed", message
        self.status.seconds_left = None
        with suppress(AltUBError, OSError):  # a full disk: the freed lock tells the watchers, the error goes on up
            self.write_status()

    def close(self) -> None:
        self.stack.close()

    def non_finite(self, epoch: int) -> NonFiniteLossError:
        kept = f"the model and checkpoint of epoch {self.epoch} are kept" if self.epoch else "nothing was saved yet"
        return NonFiniteLossError(
            f"The loss became infinite or NaN in epoch {epoch}; {kept}. "
            "Lower the learning rate, or use precision fp32, and start again."
        )

    def base_values(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [
            (base.mean.detach().cpu().numpy().copy(), base.log_std.detach().cpu().numpy().copy())
            for base in self.parts.pyramid.bases
        ]


def _per_dimension(sums: list[float], pyramid: FlowPyramid) -> list[float]:
    return [value / math.prod(shape) for value, shape in zip(sums, pyramid.shapes, strict=True)]


def _overall(sums: list[float] | None, pyramid: FlowPyramid) -> float | None:
    return sum(sums) / sum(math.prod(shape) for shape in pyramid.shapes) if sums else None


def _drift(mean: np.ndarray, log_std: np.ndarray) -> BaseDrift:
    """How far a base is from N(0, I): quantiles over channels of |mu| and |sigma - 1|."""

    def quantiles(values: np.ndarray) -> Quantiles:
        levels = np.quantile(values.astype(np.float64), [0.05, 0.25, 0.5, 0.75, 0.95])
        return Quantiles(**dict(zip(("q05", "q25", "q50", "q75", "q95"), map(float, levels), strict=True)))

    return BaseDrift(mean=quantiles(np.abs(mean)), std=quantiles(np.abs(np.exp(log_std) - 1)))


def _mix(seed: int, epoch: int) -> int:
    """A seed for one epoch that differs from every other (seed, epoch)'s."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
