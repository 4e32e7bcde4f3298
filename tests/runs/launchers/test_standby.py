"""The process that waits for the next training: it becomes that training, and never outlives who prepared it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from altub.runs import queue
from altub.runs.launchers.process import ProcessLauncher
from altub.runs.launchers.standby import Standby
from altub.training.config import TrainingConfig
from tests.conftest import REPOSITORY
from tests.training.runs import variant

pytestmark = pytest.mark.usefixtures("quick_processes")

LONG = 120  # seconds that a loaded machine may take


@pytest.fixture
def standby(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standby]:
    monkeypatch.setenv("ALTUB_STANDBY", "1")
    made = Standby(patience=0.0)
    yield made
    made.close()


def wait_for(what, seconds: float = LONG):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
    return found


def waiting(standby: Standby) -> subprocess.Popen:
    standby.prepare()
    return wait_for(lambda: standby._waiting)


def test_it_becomes_the_training(
    standby: Standby, small_config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = waiting(standby)
    monkeypatch.setenv("ALTUB_FEATURE_MEMORY", "0")  # set after it was started
    launcher = ProcessLauncher(standby)
    run = queue.start(variant(small_config, epochs=1), tmp_path, launcher)
    assert standby._waiting is None
    launcher.prepare()
    assert standby._timer is None and standby._waiting is None, "one process at a time: this one trains"
    wait_for(lambda: run.read_status().state in ("finished", "failed"))
    assert run.read_status().state == "finished", run.log_file.read_text()
    assert process.wait(LONG) == 0 and (run.model_dir / "config.json").is_file()
    assert waiting(standby).pid != process.pid, "the next training gets one again"


def test_the_variables_are_those_of_the_start_and_the_log_is_the_runs(standby: Standby, tmp_path: Path) -> None:
    process = waiting(standby)
    log = tmp_path / "train.log"
    log.write_text("before\n")
    taken = standby.take(["runs"], log, {"ALTUB_RUNS": str(tmp_path / "none"), "HOME": None})
    assert taken is process and taken.wait(LONG) == 0
    assert log.read_text().startswith("before\n") and len(log.read_text().splitlines()) == 2
    assert standby.take(["runs"], log) is None, "nobody waits any more"


def test_an_error_of_the_training_is_in_its_log(standby: Standby, tmp_path: Path) -> None:
    waiting(standby)
    taken = standby.take(["train", "--run-dir", str(tmp_path / "none"), "--resume"], tmp_path / "train.log")
    assert taken.wait(LONG) == 2 and "Name what to train" in (tmp_path / "train.log").read_text()


def test_one_that_died_is_not_used(standby: Standby, small_config: TrainingConfig, tmp_path: Path) -> None:
    process = waiting(standby)
    process.kill()
    process.wait()
    run = queue.start(variant(small_config, epochs=1), tmp_path, ProcessLauncher(standby))
    wait_for(lambda: run.read_status().state in ("finished", "failed"))
    assert run.read_status().state == "finished"


def test_it_can_be_switched_off(standby: Standby, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_STANDBY", "0")
    standby.prepare()
    assert standby._timer is None


def test_closed_it_ends(standby: Standby) -> None:
    process = waiting(standby)
    standby.close()
    assert process.returncode == 0
    late = Standby(patience=LONG)
    late.prepare()
    late.close()
    assert late._timer is None and late._waiting is None


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are POSIX")
def test_it_ends_with_a_page_that_was_killed(tmp_path: Path) -> None:
    """`kill -9` leaves nobody to close anything: the end of its standard input has to do."""
    code = (
        "import time\nfrom altub.runs.launchers.standby import Standby\ns = Standby(0.0)\ns.prepare()\n"
        "while s._waiting is None: time.sleep(0.01)\nprint(s._waiting.pid, flush=True)\ntime.sleep(600)"
    )
    environment = {**os.environ, "ALTUB_STANDBY": "1"}
    page = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environment
    )
    pid = int(page.stdout.readline())
    os.kill(page.pid, signal.SIGKILL)
    page.wait()
    page.stdout.close()

    def is_gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        return stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] == "Z"  # nobody waits for it here

    wait_for(is_gone)
