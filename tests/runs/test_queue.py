"""Trainings as processes of their own: they outlive their starter, take turns, stop and go on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from altub.errors import ConfigError, RunError
from altub.runs import queue as jobs
from altub.runs.launchers.process import ProcessLauncher
from altub.runs.run import Run, Status
from altub.training.config import TrainingConfig, make_config
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.usefixtures("quick_processes")

PATIENCE = 180.0  # seconds until a process that does nothing counts as hung; a slow machine needs some to import torch

# What a page's server does, and then it is gone.
STARTER = """
import json, sys
from pathlib import Path
from altub.runs import queue as jobs
from altub.training.config import TrainingConfig
for text in sys.argv[2:]:
    print(jobs.start(TrainingConfig.model_validate(json.loads(text)), Path(sys.argv[1])).id, flush=True)
"""


def wait_for(what: Callable[[], object], run: Run) -> None:
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > PATIENCE:
            log = run.log_file.read_text() if run.log_file.exists() else ""
            pytest.fail(f"run {run.id} hangs: {run.status}\n{log}")
        time.sleep(0.05)


def variant(config: TrainingConfig, **settings) -> TrainingConfig:
    return make_config(**{**config.model_dump(), **settings})


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Run]]:
    """Runs put into this list are ended after the test, also where it failed."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("ALTUB_JOBS", "1")
    runs: list[Run] = []
    yield runs
    for run in runs:
        if run.is_alive():
            run.request_stop()
    for run in runs:
        wait_for(lambda run=run: not run.is_alive(), run)


def test_the_life_of_two_jobs(small_config: TrainingConfig, tmp_path: Path, ended: list[Run]) -> None:
    """Started by a process that ends at once; one trains, the other waits, is stopped, is resumed, and has its turn."""
    configs = [variant(small_config, epochs=100_000), variant(small_config, epochs=1)]
    starter = subprocess.run(
        [sys.executable, "-c", STARTER, str(tmp_path), *(config.model_dump_json() for config in configs)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert starter.returncode == 0, starter.stderr
    first, second = (Run.find(run_id, tmp_path) for run_id in starter.stdout.split())
    ended += [first, second]
    assert (first.config, second.config) == tuple(configs)

    # The first trains although its starter is gone; the second waits.
    wait_for(lambda: first.events() and second.read_status().pid, first)
    assert (first.status.state, second.status.state) == ("running", "queued")
    assert (jobs.position_in_queue(first), jobs.position_in_queue(second)) == (0, 1)
    assert os.getsid(first.status.pid) == first.status.pid, "a session of its own: Ctrl+C on the server spares it"
    for run, state in ((first, "running"), (second, "queued")):
        with pytest.raises(RunError, match=f"is {state} already"):
            jobs.resume(run)

    # A queued one can be stopped while the other goes on, and put back into the queue.
    jobs.stop(second)
    wait_for(lambda: second.status.state == "stopped", second)
    wait_for(lambda: not second.is_alive(), second)
    assert first.status.state == "running" and second.events() == []
    earlier = second.status.seconds
    jobs.resume(second)
    assert second.status.state == "queued" and not second.stop_requested()
    wait_for(lambda: second.read_status().pid, second)
    assert jobs.position_in_queue(second) == 1

    # Stopped, the first keeps what it has learned, and the second has its turn.
    jobs.stop(first)
    wait_for(lambda: first.status.state == "stopped", first)
    reached = first.status.epoch
    assert reached >= 1 and len(first.events()) == reached and first.checkpoint_file.exists()
    wait_for(lambda: second.status.state not in ("queued", "running"), second)
    done = second.status
    assert (done.state, done.epoch) == ("finished", 1) and second.model_dir.is_dir(), second.log_file.read_text()
    began = done.updated - (done.seconds - earlier)
    assert began > first.status.updated - 0.1, "it began when the other had ended"
    with pytest.raises(RunError, match="nothing left to train"):
        jobs.resume(second)
    with pytest.raises(RunError, match="not being trained: it is finished"):
        jobs.stop(second)

    # The first goes on where it was.
    wait_for(lambda: not first.is_alive(), first)
    first.replace_config(first.config.model_copy(update={"epochs": reached + 1}))
    jobs.resume(first)
    wait_for(lambda: first.status.state not in ("queued", "running"), first)
    assert (first.status.state, first.status.epoch) == ("finished", reached + 1), first.log_file.read_text()
    assert [event.epoch for event in first.events()] == list(range(1, reached + 2))


# Without processes.


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs for which a process would have been started."""
    runs: list[Run] = []
    monkeypatch.setattr(ProcessLauncher, "start", lambda _, run: runs.append(run))
    return runs


CONFIG = make_config(category="weave")


def test_start_creates_a_run_and_a_process(tmp_path: Path, spawned: list[Run]) -> None:
    a, b = (jobs.start(CONFIG, tmp_path / "runs") for _ in range(2))
    assert spawned == [a, b] and a.id != b.id
    assert a.path.parent == tmp_path / "runs" and a.config == CONFIG and a.status.state == "queued"


def test_runs_go_to_the_folder_of_the_settings(
    tmp_path: Path, spawned: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALTUB_RUNS", str(tmp_path / "elsewhere"))
    assert jobs.start(CONFIG).path.parent == tmp_path / "elsewhere"


@pytest.mark.parametrize("state", ["stopped", "failed", "interrupted"])
def test_what_ended_early_can_be_resumed(tmp_path: Path, spawned: list[Run], state: str) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    written = "running" if state == "interrupted" else state
    run.write_status(Status(state=written, epoch=3, pid=1, message="why", seconds=10.0, created=5.0))
    run.request_stop()
    assert run.status.state == state
    jobs.resume(run)
    assert spawned == [run] and not run.stop_requested()
    status = run.status
    assert (status.state, status.epoch, status.message, status.pid) == ("queued", 3, "", None)
    assert (status.seconds, status.created) == (10.0, 5.0) and status.queued_at > 5.0


@pytest.mark.parametrize("state", ["stopped", "failed", "finished", "interrupted"])
def test_what_is_not_training_cannot_be_stopped(tmp_path: Path, state: str) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    run.write_status(Status(state="running" if state == "interrupted" else state, pid=1))
    with pytest.raises(RunError, match=f"it is {state}"):
        jobs.stop(run)
    assert not run.stop_requested(), "nothing waits for the next start"


def queued(root: Path, name: str, at: float, stack: ExitStack, state: str = "queued", alive: bool = True) -> Run:
    run = Run.create(root / name, CONFIG)
    run.write_status(Status(state=state, queued_at=at, pid=1))
    if alive:
        stack.enter_context(run.lock())
    return run


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_the_queue_is_in_order_of_arrival(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slots: int) -> None:
    monkeypatch.setenv("ALTUB_JOBS", str(slots))
    with ExitStack() as stack:
        queued(tmp_path, "z", 1.0, stack, state="running")
        waiting = [queued(tmp_path, name, at, stack) for name, at in (("y", 2.0), ("x", 3.0), ("w", 3.0))]
        queued(tmp_path, "dead", 0.5, stack, alive=False)
        queued(tmp_path, "done", 0.1, stack, state="finished", alive=False)
        (tmp_path / "rubbish").mkdir()
        (tmp_path / "rubbish" / "config.json").write_text("{")
        positions = {run.id: jobs.position_in_queue(run) for run in waiting}
    # Of two that came at the same instant the name decides, so that neither waits for the other for ever.
    assert positions == {name: max(place - slots, 0) for name, place in (("y", 2), ("w", 3), ("x", 4))}


def test_a_number_of_jobs_that_is_none_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_JOBS", "many")
    with pytest.raises(ConfigError, match="ALTUB_JOBS"):
        jobs.position_in_queue(Run.create(tmp_path / "r", CONFIG))


def test_waiting_ends_when_the_other_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_JOBS", "1")
    monkeypatch.setattr(jobs, "QUEUE_POLL", 0.01)
    with ExitStack() as stack:
        mine = queued(tmp_path, "mine", 2.0, stack)
        other = ExitStack()
        queued(tmp_path, "other", 1.0, other, state="running")
        answers: list[bool] = []
        waiting = threading.Thread(target=lambda: answers.append(jobs.wait_for_turn(mine, lambda: False)))
        waiting.start()
        time.sleep(0.1)
        assert answers == []
        other.close()  # killed: its status still says "running", but nobody holds it
        waiting.join(PATIENCE)
    assert answers == [True]


@pytest.mark.parametrize("how", ["signal", "run directory", "before it began to wait"])
def test_waiting_ends_when_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("ALTUB_JOBS", "1")
    monkeypatch.setattr(jobs, "QUEUE_POLL", 0.01)
    with ExitStack() as stack:
        mine = queued(tmp_path, "mine", 2.0, stack)
        if how == "before it began to wait":
            mine.request_stop()
        else:
            queued(tmp_path, "other", 1.0, stack, state="running")
        asked = iter(range(10**9))

        def should_stop() -> bool:
            if next(asked) < 3:
                return False
            if how == "run directory":
                mine.request_stop()
            return how == "signal"

        assert jobs.wait_for_turn(mine, should_stop) is False
