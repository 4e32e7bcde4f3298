"""Alternating training: the flow and its base N(mu, Sigma) in turns, watched on held-out good images.

`train(run)` is a generator: it yields an event after every step and every epoch, writes nothing outside its run
directory and knows no user interface. The same run directory, killed at any moment and trained on, ends at the same
weights: every epoch draws its order from (seed, epoch) alone, and the checkpoint holds all other state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING

from altub.device import one_ahead
from altub.errors import AltUBError, ModelError
from altub.training.adapt import fit_base
from altub.training.compiled import compile_heads
from altub.training.cross import cross_calibrate
from altub.training.distributed import ALONE, Agreed, Group
from altub.training.epoch import evaluate_epoch, image_order, nll_per_dimension
from altub.training.preparation import fold_norms, prepare
from altub.training.push import push_of_step
from altub.training.recorder import Recorder, SilentRecorder, StopRequested, TrainingEvent
from altub.training.state import NonFiniteLossError, TrainingState
from altub.training.steps import Alternation

if TYPE_CHECKING:
    from torch import Tensor

    from altub.backbones import Backbone
    from altub.data import Category
    from altub.runs.run import Run
    from altub.training.preparation import Prepared
    from altub.training.schedule import Phase

__all__ = ["NonFiniteLossError", "TrainingEvent", "train"]


def train(
    run: Run,
    *,
    category: Category | None = None,
    backbone: Backbone | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    wait: Callable[[Run], bool] = lambda run: True,
    group: Group = ALONE,
) -> Iterator[TrainingEvent]:
    """Trains `run` from its checkpoint, or from the start if there is none, to its last epoch.

    Args:
        category: images to train and test on, in place of those that the run's settings name; to be given again when
            the run is resumed.
        backbone: in place of the one that the settings name; likewise.
        should_stop: asked between steps; a stop is also taken from the run directory (`Run.request_stop`).
        group: the processes that train this run together (`altub.training.distributed`); each calls this function.
        wait: called once the run is held, to wait in a queue; False means it was stopped meanwhile.

    Raises:
        RunError: another process trains this run.
        AltUBError: what went wrong, as also written to the status; what was trained so far is kept.
    """
    stop = Agreed(group, lambda: should_stop() or run.stop_requested())
    with run.lock() if group.is_main else nullcontext():
        recorder = (Recorder if group.is_main else SilentRecorder)(run, stop)
        try:
            recorder.queue(run.config)
            may_go_on = wait(run)
            recorder.begin()
            if may_go_on:
                yield from _train(run, recorder, category, backbone, group, stop)
            yield recorder.finished() if may_go_on else recorder.stopped()
        except StopRequested:
            yield recorder.stopped()
        except AltUBError as error:
            recorder.failed(str(error))
            raise
        except GeneratorExit:  # nobody asks for the next event any more
            recorder.stopped()
            raise
        except Exception as error:  # a bug or the machine: the watchers must learn of it before it goes on up
            recorder.failed(f"Unexpected {type(error).__name__}: {error}. The full report is in {run.log_file.name}.")
            raise


def _train(
    run: Run, recorder: Recorder, category: Category | None, backbone: Backbone | None, group: Group, stop: Agreed
) -> Iterator[TrainingEvent]:
    with ExitStack() as stack:
        parts = yield from recorder.tell_each(
            prepare(run, recorder.status, stack, category=category, backbone=backbone, group=group)
        )
        config, schedule = parts.config, parts.config.base
        updates = Alternation(config, parts.pyramid, parts.autocast, parts.workers, group)
        state = TrainingState.start(len(parts.trained), config.batch_size)
        recorder.resume(parts, updates, state)
        group.wait()  # the first process may write the checkpoint that the others read
        yield from recorder.tell_each(fold_norms(parts))
        updates.norms = parts.trained.norms_left(parts.pyramid)
        yield from recorder.tell_each(compile_heads(parts))
        if (state.epoch, state.step) == (0, 0) and group.is_main:
            yield recorder.tell("evaluating what the features give alone")
            try:
                yield recorder.start_done(evaluate_epoch(parts, state, updates.lr_now))
            except ModelError:
                raise state.non_finite() from None

        while state.epoch < config.epochs:
            epoch = state.epoch + 1
            order = image_order(len(parts.trained), config.seed, epoch)
            turns = schedule.epoch_turns(epoch)  # a pass over the images each
            steps = len(turns) * state.steps_per_pass
            while state.step < steps:
                began = time.monotonic()
                turn = turns[state.step // state.steps_per_pass]
                for _ in _turn(parts, updates, state, turn, order, group, recorder.check_stop):
                    state.take_losses()
                    state.sums.seconds += time.monotonic() - began
                    stop.look()
                    yield recorder.step_done(turn, steps, nll_per_dimension(state.sums.means(), parts.pyramid))
                    began = time.monotonic()

            began = time.monotonic()
            state.take_losses(wait=True)
            state.sums.seconds += time.monotonic() - began
            # A run that is resumed right here has not made the epoch's last step in this process.
            updates.set_rates((epoch * state.steps_per_pass - 1) / (config.epochs * state.steps_per_pass))
            yield recorder.tell(f"evaluating epoch {epoch}")
            try:
                record = evaluate_epoch(parts, state, updates.lr_now) if group.is_main else None
            except ModelError:  # the weights give no finite likelihood any more
                raise state.non_finite() from None
            stop.look()
            recorder.check_stop()  # nothing is written yet: resuming computes this epoch's end again
            yield recorder.epoch_done(record)

        if config.cross_folds:
            yield from recorder.tell_each(cross_calibrate(parts))
            yield recorder.calibrated()


def _turn(
    parts: Prepared,
    updates: Alternation,
    state: TrainingState,
    turn: Phase,
    order: Sequence[int],
    group: Group,
    check_stop: Callable[[], None],
) -> Iterator[None]:
    """A pass over the images, or what is left of it: yields after every step, of the closed form after its only one."""
    index, step = divmod(state.step, state.steps_per_pass)
    if turn == "base" and parts.config.base.base_update == "moments":
        check = check_stop if group.size == 1 else lambda: None  # not within a message
        fit_base(parts.pyramid, parts.trained, precision=parts.autocast, check=check, add=group.add)
        state.sums.base_steps = 1
        state.step = (index + 1) * state.steps_per_pass
        yield
        return
    for images, features in _batches(parts, order[step * parts.config.batch_size :], state.epoch + 1, group):
        _step(parts, updates, state, turn, features, len(images))
        yield


def _batches(
    parts: Prepared, order: Sequence[int], epoch: int, group: Group
) -> Iterator[tuple[Sequence[int], list[Tensor]]]:
    """The batches of these images: their places, and the features of those that this process keeps.

    For a GPU the next batch is read, or decoded and computed, while one is trained on.
    """
    size = parts.config.batch_size
    chosen = (order[start : start + size] for start in range(0, len(order), size))
    batches = ((images, parts.trained.batch(group.own(images), epoch)) for images in chosen)
    return batches if parts.device.type == "cpu" else one_ahead(batches)


def _step(
    parts: Prepared, updates: Alternation, state: TrainingState, turn: Phase, features: list[Tensor], images: int
) -> None:
    """Trains on one batch of so many images, and counts the step."""
    config, schedule = parts.config, parts.config.base
    epoch, step = state.epoch + 1, state.step % state.steps_per_pass
    global_step = state.epoch * state.steps_per_pass + step + 1
    progress = (global_step - 1) / (config.epochs * state.steps_per_pass)
    push = push_of_step(
        parts.known, turn, config.epochs - epoch, config.push_epochs, global_step - 1, config.push_weight
    )
    for whose in schedule.step_turns(global_step) if turn == "flow" else ("base",):
        nll = updates.enqueue(features, whose, epoch, global_step, progress, push, images)
        counts = whose == "flow" or not schedule.on_top  # every image counts once in the epoch's loss
        state.losses.put(nll, images if counts else 0)
        state.sums.base_steps += whose == "base"
    state.step += 1
