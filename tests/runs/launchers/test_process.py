"""Trainings as processes: what is started, and what is said where that is not possible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from altub.errors import DiskFullError, RunError
from altub.runs import queue as jobs
from altub.runs.launchers import process
from altub.runs.run import Run
from altub.training.config import make_config
from tests.conftest import REPOSITORY

CONFIG = make_config(category="weave")
PATIENCE = 60.0  # seconds


def test_a_process_that_cannot_be_started_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(process.subprocess, "Popen", fail)
    with pytest.raises(RunError, match="No training process could be started"):
        jobs.start(CONFIG, tmp_path)
    (run,) = (Run(path) for path in tmp_path.iterdir())
    assert run.status.state == "failed" and "Resource temporarily unavailable" in run.status.message


def test_a_full_disk_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from altub import files

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DiskFullError, match="Free some space"):
        jobs.start(CONFIG, tmp_path)


def test_what_a_job_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is the public one, and its output goes to the run's log."""
    calls: list[tuple[list[str], dict]] = []
    real_popen = subprocess.Popen

    def popen(command: list[str], **options):
        calls.append((command, options))
        return real_popen([sys.executable, "-c", "print('hello')"], **options)

    monkeypatch.setattr(process.subprocess, "Popen", popen)
    run = jobs.start(CONFIG, tmp_path)
    until = time.monotonic() + PATIENCE
    while run.log_file.read_text() != "hello\n":
        assert time.monotonic() < until, "the process prints nothing"
        time.sleep(0.05)
    ((command, options),) = calls
    expected = ["-m", "altub", "train", "--run-dir", str(run.path), "--resume", "--quiet", "--queue"]
    assert command[1:] == expected and options["start_new_session"]
    assert options["env"]["PYTHONPATH"].split(os.pathsep)[0] == str(REPOSITORY)
    assert json.loads((run.path / "config.json").read_text())["category"] == "weave"
