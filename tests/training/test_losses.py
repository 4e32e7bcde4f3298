"""Losses that a device has not computed yet: in order, none lost, none waited for without need."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from altub.runs import Run
from altub.training import TrainingConfig, train
from altub.training import losses as losses_module
from altub.training.distributed import ALONE
from altub.training.loop import _batches
from altub.training.losses import MOST_WAITING, LossReader
from altub.training.state import NonFiniteLossError, TrainingState
from tests.training.runs import assert_same_weights, stop_after


class _Event:
    """Of a device that is done when the test says so."""

    def __init__(self) -> None:
        self.done, self.waited = False, False

    def query(self) -> bool:
        return self.done

    def synchronize(self) -> None:
        self.done = self.waited = True


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[_Event]:
    """The device is a slow one; its events in the order of the steps."""
    made: list[_Event] = []

    def copied(losses: torch.Tensor):
        made.append(_Event())
        return losses, made[-1]

    monkeypatch.setattr(losses_module, "_copied", copied)
    return made


def put(reader: LossReader, *values: float) -> None:
    for value in values:
        reader.put(torch.tensor([value], dtype=torch.float64), 4)


def test_a_cpu_has_them_at_once() -> None:
    reader = LossReader()
    put(reader, 1.0, 2.0)
    assert list(reader.arrived()) == [([1.0], 4), ([2.0], 4)]
    assert len(reader) == 0


def test_what_has_not_arrived_is_not_waited_for(events: list[_Event]) -> None:
    reader = LossReader()
    put(reader, 1.0, 2.0, 3.0)
    assert list(reader.arrived()) == []
    events[0].done = events[2].done = True  # the third cannot be given before the second
    assert list(reader.arrived()) == [([1.0], 4)]
    assert not any(event.waited for event in events)
    assert list(reader.arrived(wait=True)) == [([2.0], 4), ([3.0], 4)]
    assert [event.waited for event in events] == [False, True, False]


def test_only_so_many_are_let_go_by(events: list[_Event]) -> None:
    reader = LossReader()
    put(reader, *map(float, range(MOST_WAITING + 3)))
    assert [nll for nll, _ in reader.arrived()] == [[0.0], [1.0], [2.0]]
    assert len(reader) == MOST_WAITING


def test_a_checkpoint_counts_what_is_still_on_its_way(events: list[_Event]) -> None:
    state = TrainingState.start(images=8, batch_size=4)
    put(state.losses, 1.0, 3.0)
    state.take_losses()
    assert state.sums.means() is None
    assert state.counters()["sums"]["heads"] == [16.0]
    assert state.sums.means() == [2.0]


def test_what_is_not_finite_is_never_saved(events: list[_Event]) -> None:
    state = TrainingState.start(images=8, batch_size=4)
    put(state.losses, 1.0, math.nan)
    with pytest.raises(NonFiniteLossError, match="epoch 1; nothing was saved yet"):
        state.counters()


def test_a_device_that_answers_late_changes_nothing(
    small_config: TrainingConfig, trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[_Event] = []

    def copied(losses: torch.Tensor):
        late.append(_Event())
        return losses.clone(), late[-1]

    monkeypatch.setattr(losses_module, "_copied", copied)
    run = Run.create(tmp_path / "late", small_config)
    for _ in train(run, should_stop=stop_after(14)):
        pass
    assert run.status.state == "stopped" and all(event.waited for event in late)  # the checkpoint holds their sum
    for _ in train(run):
        pass
    assert_same_weights(trained_run, run)
    assert [event.loss for event in run.events()] == [event.loss for event in trained_run.events()]


def test_while_a_device_trains_on_a_batch_the_next_one_is_made() -> None:
    asked = []
    store = SimpleNamespace(batch=lambda images, epoch: asked.append((list(images), epoch)) or [torch.zeros(1)])
    parts = SimpleNamespace(config=SimpleNamespace(batch_size=2), trained=store, device=torch.device("meta"))
    batches = _batches(parts, [4, 0, 3, 1, 2], epoch=7, group=ALONE)
    first, _ = next(batches)
    assert first == [4, 0]
    deadline = time.monotonic() + 60
    while len(asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert asked == [([4, 0], 7), ([3, 1], 7)]
    assert [images for images, _ in batches] == [[3, 1], [2]]
    assert asked[2:] == [([2], 7)]
