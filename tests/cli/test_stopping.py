"""Stopping trainings: signals, `stop`, and what is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from altub.cli.signals import StopOnSignals
from altub.runs.run import Run, Status
from altub.training.config import make_config
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.usefixtures("quick_processes")


def test_ctrl_c_keeps_what_was_trained(altub, weave, tmp_path: Path) -> None:
    run_dir = tmp_path / "r"
    process = subprocess.Popen(
        [sys.executable, "-m", "altub", "train", *map(str, weave), "--epochs", "100000", "--run-dir", str(run_dir)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = Run(run_dir)
    began = time.monotonic()
    try:
        while not run.checkpoint_file.exists():
            assert process.poll() is None and time.monotonic() - began < 180
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=180)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and out == "" and "Traceback" not in err, err
    assert err.splitlines()[-1] == (f"{run.status.message} Resume: python -m altub train --run-dir {run_dir} --resume")
    status = run.status
    assert status.state == "stopped" and status.epoch >= 1
    resumed = altub("train", "--run-dir", run_dir, "--resume", "--epochs", status.epoch + 1, "--json")
    assert json.loads(resumed.out)["epochs"] == status.epoch + 1
    assert [event.epoch for event in run.events()] == list(range(1, status.epoch + 2))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_a_training_and_are_left_as_they_were(altub, weave, tmp_path: Path, number: int) -> None:
    run, slipped = Run(tmp_path / "my run"), []
    before = signal.signal(number, lambda *_: slipped.append(number))

    def kill_once_it_trains() -> None:
        while not run.events():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    killer = threading.Thread(target=kill_once_it_trains, daemon=True)
    killer.start()
    try:
        ended = altub("train", *weave, "--epochs", "100000", "--run-dir", run.path, "--json")
        killer.join()
        assert signal.getsignal(number) is not before
        os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
    assert ended.code == 130 and ended.out == "" and slipped == [number], "the second one went to the earlier handler"
    assert ended.err.splitlines()[-1].endswith(f"--run-dir '{run.path}' --resume")
    assert run.status.state == "stopped" and run.checkpoint_file.exists() and run.status.epoch >= 1


def test_a_second_signal_ends_it_at_once() -> None:
    with StopOnSignals() as stopping:
        assert not stopping.asked()
        signal.raise_signal(signal.SIGTERM)
        assert stopping.asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_an_ignored_hangup_stays_ignored() -> None:
    """A study under nohup outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopOnSignals("SIGTERM", "SIGHUP") as stopping:
            signal.raise_signal(signal.SIGHUP)
            assert not stopping.asked()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_job_that_was_stopped_before_it_got_going_does_not_train(altub, small_config, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", small_config)
    run.request_stop()
    ended = altub("train", "--run-dir", run.path, "--resume", "--queue", "--quiet")
    assert ended.code == 130 and run.status.state == "stopped" and run.events() == [] and not run.stop_requested()
    run.request_stop()  # left by a process that was killed: whoever starts the training by hand wants it to train
    assert altub("train", "--run-dir", run.path, "--resume", "--quiet").code == 0
    assert run.status.state == "finished"


def test_stop_asks_a_training_and_nothing_else(altub, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", make_config(category="weave"))
    run.write_status(Status(state="running", pid=1))
    with run.lock():
        ended = altub("stop", run.path)
    assert ended.code == 0 and ended.out == "" and "--resume" in ended.err and run.stop_requested()
    altub("stop", run.path).assert_refused("not being trained: it is interrupted")
    altub("stop", tmp_path).assert_refused("holds no run")
