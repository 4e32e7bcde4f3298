"""The state of a run in words."""

from __future__ import annotations

import os
from pathlib import Path

from altub.runs.run import Run
from altub.training.config import TrainingConfig
from altub.ui.train.status import status_card
from altub.ui.watch import RunWatch


def test_status_card_tells_what_went_wrong_without_markup(small_config: TrainingConfig, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "weave-1", small_config)
    status = run.read_status()
    status.state, status.message, status.notes = "failed", "The disk is full <b>.", ["A & B"]
    run.write_status(status)
    html = status_card(RunWatch(tmp_path).view("weave-1"))
    assert "The disk is full &lt;b&gt;." in html and "A &amp; B" in html
    assert "0 of 4" in html


def test_the_queue_is_told(small_config: TrainingConfig, tmp_path: Path) -> None:
    first = Run.create(tmp_path / "first", small_config)
    with first.lock():
        status = first.read_status()
        status.state, status.pid = "running", os.getpid()
        first.write_status(status)
        Run.create(tmp_path / "second", small_config)
        view = RunWatch(tmp_path).view("second")
        assert view.position == 1
        assert "next in the queue" in status_card(view)
