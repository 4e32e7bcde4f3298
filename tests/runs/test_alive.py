"""Whether a run is being trained: alive, killed, locked by another process, asked to stop."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from altub.errors import RunError
from altub.runs.run import Run, Status
from altub.training.config import make_config
from tests.runs.holder import held_elsewhere

pytestmark = pytest.mark.usefixtures("quick_processes")

CONFIG = make_config(category="weave", epochs=4)


def test_a_killed_trainer_shows_as_interrupted(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    with held_elsewhere(run) as process:
        assert run.is_alive() and run.status.state == "running"
        with pytest.raises(RunError, match=f"already being trained \\(process {process.pid}\\)"), run.lock():
            pass
        assert run.status.state == "running", "the refused one changed nothing"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not run.is_alive()
        status = run.status
        assert status.state == "interrupted" and "after epoch 2" in status.message and "Resume" in status.message
        assert run.read_status().state == "running", "what is on the disk stays as the trainer left it"
        with run.lock():
            assert run.is_alive()


def test_a_queued_run_has_time_to_start_but_not_for_ever(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    assert run.status.state == "queued"
    status = run.read_status()
    status.queued_at = time.time() - 3600
    run.write_status(status)
    assert run.status.state == "interrupted"


@pytest.mark.parametrize("state", ["stopped", "failed", "finished"])
def test_a_run_that_ended_stays_as_it_ended(tmp_path: Path, state: str) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    run.write_status(Status(state=state, message="so it is"))
    assert (run.status.state, run.status.message) == (state, "so it is")


def test_asking_whether_a_run_is_alive_makes_no_files(tmp_path: Path) -> None:
    assert not Run(tmp_path / "gone" / "r").is_alive()
    assert Run(tmp_path / "gone" / "r").status.state == "interrupted"
    assert not (tmp_path / "gone").exists(), "a run that was removed must not come back empty"


def test_watchers_do_not_take_each_other_for_a_trainer(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    with run.lock():
        pass
    done, seen = threading.Event(), []

    def watch() -> None:
        while not done.is_set():
            seen.append(run.is_alive())

    threads = [threading.Thread(target=watch) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    with run.lock():  # and they do not keep a trainer from its run
        pass
    done.set()
    for thread in threads:
        thread.join()
    # While the trainer held it, "alive" is the right answer; that was an instant.
    assert len(seen) > 20 and seen.count(True) <= len(seen) // 4


def test_a_wish_to_stop_is_kept_until_it_is_cleared(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    run.request_stop()
    run.request_stop()
    assert Run.open(run.path).stop_requested()
    run.clear_stop()
    run.clear_stop()
    assert not run.stop_requested()
