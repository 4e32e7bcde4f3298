"""A damaged run is told apart, takes nothing else down, and can be deleted."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from altub import Run
from altub.errors import RunError
from altub.runs.damaged import list_damaged, remove_run
from altub.runs.run import list_runs
from altub.training.status import Status


@pytest.fixture
def root(trained_run: Run, tmp_path: Path) -> Path:
    """A runs folder with two sound runs."""
    for name in ("sound", "other"):
        shutil.copytree(trained_run.path, tmp_path / "runs" / name)
    return tmp_path / "runs"


def damage_json(path: Path, key: str, value: object) -> None:
    content = json.loads(path.read_text())
    content[key] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        ("config.json", lambda path: path.write_text("{"), "config.json"),
        ("config.json", lambda path: path.write_text("null"), "config.json"),
        ("config.json", lambda path: path.write_bytes(b"\xff\xfe"), "config.json"),
        ("config.json", lambda path: damage_json(path, "epochs", 10**30), "epochs"),
        ("model/config.json", lambda path: damage_json(path, "info", {"epoch": "two"}), "epoch"),
        ("model/config.json", lambda path: damage_json(path, "format_version", 99), "newer"),
        ("model/config.json", lambda path: path.write_text("[" * 100_000), "damaged"),
        ("model/config.json", lambda path: (path.unlink(), os.mkfifo(path)), "pipe"),
        ("remote.json", lambda path: path.write_text("{}"), "remote.json"),
    ],
)
def test_it_is_listed_with_its_reason_and_the_others_stay(root: Path, name: str, harm, words: str) -> None:
    assert list_damaged(root) == []
    harm(root / "other" / name)
    (found,) = list_damaged(root)
    assert found.id == "other" and words in found.reason and str(root) not in found.reason
    assert {run.id for run in list_runs(root)} == {"sound", "other"}


def test_a_run_is_deleted_whole(root: Path) -> None:
    (root / "other/config.json").write_text("{")
    remove_run("other", root)
    assert [path.name for path in root.iterdir()] == ["sound"]
    with pytest.raises(RunError, match="There is no run other"):
        remove_run("other", root)


@pytest.mark.parametrize("run_id", ["..", "../sound", "/etc", "", ".hidden", "a/b"])
def test_what_is_no_run_is_not_deleted(root: Path, run_id: str) -> None:
    with pytest.raises(RunError):
        remove_run(run_id, root)
    assert {path.name for path in root.iterdir()} == {"sound", "other"}


def test_a_run_that_is_trained_is_not_deleted(root: Path) -> None:
    run = Run(root / "other")
    with run.lock():
        run.write_status(Status(state="running", pid=os.getpid()))
        with pytest.raises(RunError, match="stop it first"):
            remove_run("other", root)
    assert run.path.exists()


def test_a_run_that_cannot_be_written_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("altub.runs.run.filelock.FileLock.acquire", refuse)
    with pytest.raises(RunError, match="cannot be written"), Run(root / "other").lock():
        pass


def test_after_the_clock_was_set_back_a_dead_run_can_be_resumed(root: Path) -> None:
    run = Run(root / "other")
    run.write_status(Status(state="queued", epoch=2, queued_at=time.time() + 90_000))
    assert run.status.state == "interrupted"
    run.write_status(Status(state="queued", epoch=2, queued_at=time.time() + 5))
    assert run.status.state == "queued", "its process may be starting"
