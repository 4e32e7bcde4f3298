"""What people say about a run, and runs that are deleted and brought back."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from altub.errors import RunError
from altub.runs import queue as jobs
from altub.runs.notes import NOTES_FILE, RunNotes, change_notes, disk_use, read_notes
from altub.runs.run import Run, list_runs
from altub.runs.trash import empty_trash, list_trash, restore_run, trash_run
from altub.training.config import TrainingConfig


@pytest.fixture
def run(small_config: TrainingConfig, tmp_path: Path) -> Run:
    """One that has ended."""
    run = Run.create(tmp_path / "runs" / "weave-1", small_config)
    with run.changing_status() as status:
        status.to_failed("no memory")
    return run


def test_changes_are_kept_and_leave_the_rest(run: Run) -> None:
    assert read_notes(run) == RunNotes()
    change_notes(run, name=" Weave, line 3 ", tags=["line-3", " trial ", "line-3"])
    change_notes(run, pinned=True)
    assert read_notes(run) == RunNotes(name="Weave, line 3", tags=("line-3", "trial"), pinned=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "x" * 81},
        {"name": "two\nlines"},
        {"tags": [""]},
        {"tags": list("abcdefghijklm")},
        {"notes": "x" * 4001},
    ],
)
def test_what_is_too_much_is_refused_and_loses_nothing(run: Run, wrong: dict) -> None:
    change_notes(run, name="kept")
    with pytest.raises(RunError, match="not changed"):
        change_notes(run, **wrong)
    assert read_notes(run).name == "kept"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": 7}', '{"version": 9}'])
def test_damaged_notes_are_none_and_a_later_versions_are_read(run: Run, content: str) -> None:
    (run.path / NOTES_FILE).write_text(content)
    assert read_notes(run) == RunNotes()
    (run.path / NOTES_FILE).write_text('{"name": "n", "colour": "red"}')
    assert read_notes(run).name == "n"


def test_a_run_that_is_not_there_has_no_notes_to_write(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        change_notes(Run(tmp_path / "none"), name="x")
    assert not (tmp_path / "none").exists()


def test_disk_use_counts_every_file(run: Run) -> None:
    before = disk_use(run)
    (run.path / "deep/er").mkdir(parents=True)
    (run.path / "deep/er/file").write_bytes(bytes(1000))
    assert disk_use(run) == before + 1000


def test_a_deleted_run_comes_back_as_it_was(run: Run) -> None:
    root = run.path.parent
    change_notes(run, name="mine")
    trash_run(run.id, root)
    assert list_runs(root) == [] and list_trash(root) == [run.id]
    assert read_notes(restore_run(run.id, root)).name == "mine"
    assert [found.id for found in list_runs(root)] == [run.id] and list_trash(root) == []
    with pytest.raises(RunError):
        restore_run(run.id, root)


def test_nothing_is_overwritten_and_nothing_outside_is_reached(run: Run) -> None:
    root = run.path.parent
    copy = root / "copy"
    shutil.copytree(run.path, copy)
    trash_run(run.id, root)
    os.replace(copy, run.path)  # there is one of this name again
    with pytest.raises(RunError, match="again"):
        restore_run(run.id, root)
    for wrong in ("../runs", ".trash", "..", ""):
        with pytest.raises(RunError):
            trash_run(wrong, root)


def test_what_is_trained_stays(small_config: TrainingConfig, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs" / "new", small_config)  # queued, its process starts
    with pytest.raises(RunError, match="stop it first"):
        trash_run(run.id, run.path.parent)
    assert run.path.is_dir()


def test_the_trash_is_emptied_after_a_day(run: Run) -> None:
    root = run.path.parent
    trash_run(run.id, root)
    empty_trash(root, older_than=24)
    assert list_trash(root) == [run.id]
    yesterday = time.time() - 25 * 3600
    os.utime(root / ".trash" / run.id, (yesterday, yesterday))
    empty_trash(root, older_than=24)
    assert list_trash(root) == []


def test_the_queue_is_listed_and_moved_in(small_config: TrainingConfig, tmp_path: Path) -> None:
    runs = [Run.create(tmp_path / "runs" / name, small_config) for name in "abc"]
    for place, run in enumerate(runs):
        with run.changing_status() as status:
            status.queued_at = time.time() + place
    root = tmp_path / "runs"
    jobs.move(runs[2], -1)
    assert [run.id for run in jobs.waiting(root)] == ["a", "c", "b"]
    jobs.move(runs[0], 9)
    assert [run.id for run in jobs.waiting(root)] == ["c", "b", "a"]
    with runs[1].changing_status() as status:
        status.to_stopped()
    assert [run.id for run in jobs.waiting(root)] == ["c", "a"]
    with pytest.raises(RunError, match="does not wait"):
        jobs.move(runs[1], 1)
