"""The watch of the runs: what it reads again, and which run is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from altub.runs.run import Run
from altub.training.config import TrainingConfig
from altub.ui.watch import RunWatch, describe_view
from tests.ui.train.conftest import event


def test_watch_reads_again_only_what_changed(small_config: TrainingConfig, tmp_path: Path) -> None:
    watch, run = RunWatch(tmp_path), Run.create(tmp_path / "weave-1", small_config)
    assert watch.view("weave-1").state == "queued"
    assert watch.events(run) == []
    run.append_event(event(1))
    first = watch.events(run)
    assert [row.epoch for row in first] == [1]
    assert watch.events(run) is first
    run.append_event(event(2))
    assert [row.epoch for row in watch.events(run)] == [1, 2]


def test_watch_notices_a_dead_trainer(small_config: TrainingConfig, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "weave-1", small_config)
    status = run.read_status()
    status.state, status.pid = "running", 2**22 + 1
    run.write_status(status)
    assert RunWatch(tmp_path).view("weave-1").state == "interrupted"


@pytest.mark.parametrize("run_id", ["..", "../x", "/etc", "", None, "nobody"])
def test_no_run_of_this_id(run_id: str | None, tmp_path: Path) -> None:
    assert RunWatch(tmp_path).view(run_id) is None


def test_which_run_is_shown_first(small_config: TrainingConfig, tmp_path: Path) -> None:
    watch = RunWatch(tmp_path)
    assert watch.choose(None) is None
    for name, state, created in (("old", "finished", 1), ("new", "stopped", 2)):
        run = Run.create(tmp_path / name, small_config)
        status = run.read_status()
        status.state, status.created = state, created
        run.write_status(status)
    watch.forget()
    assert watch.choose(None) == "new"
    assert watch.choose("old") == "old"
    Run.create(tmp_path / "active", small_config)
    watch.forget()
    assert watch.choose("old") == "active"
    assert describe_view(watch.view("active")).startswith("weave · ")
