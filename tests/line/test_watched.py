"""Watched folders of a page: a process of its own that is found again, stopped by a file, and goes on where it was."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from altub.errors import DataError, RunError
from altub.line.watch import STOP_FILE, FolderWatch
from altub.line.watched import WatchedFolders
from altub.runs.run import Run
from tests.line.parts import parts, write_parts

pytestmark = pytest.mark.usefixtures("quick_processes")


@pytest.fixture
def arriving(tmp_path: Path) -> Path:
    return write_parts(tmp_path / "camera 3", [*parts(2, 1), *parts(1, 2, blot=True)])


def until(holds: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


@pytest.mark.timeout(200)
def test_a_process_is_started_seen_by_another_page_stopped_and_started_again(
    arriving: Path, line_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALTUB_DB", str(tmp_path / "labels.db"))
    folders, others = WatchedFolders(tmp_path / "watched"), WatchedFolders(tmp_path / "watched")
    watched = folders.start(line_run, arriving, device="cpu")
    try:
        assert folders.look(watched).state == "starting" and watched.id.startswith("camera-3-")
        with pytest.raises(RunError, match="being watched already"):
            folders.start(line_run, arriving)
        until(lambda: others.look(others.find(watched.id)).files == 3, 120)
        seen = others.look(others.find(watched.id))
        assert seen.state == "watching" and seen.watched.folder == arriving and not seen.problem
        assert [entry.id for entry in seen.last] == [3, 2, 1] and sum(seen.counts.values()) == 3
        assert list(others.names().values()) == ["camera 3"]
        with pytest.raises(RunError, match="being watched"):
            others.forget(seen.watched)
    finally:
        others.stop(watched)
    until(lambda: folders.look(watched).state == "stopped")
    assert folders.look(watched).problem == "" and folders.look(watched).files == 3
    folders.forget(watched)
    assert others.list() == [] and (others.output(watched) / "results.csv").is_file()
    with pytest.raises(RunError, match="no longer in the list"):
        others.find(watched.id)


def test_a_watch_ends_when_a_stop_file_appears_and_not_by_an_old_one(
    arriving: Path, line_run: Run, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / STOP_FILE).touch()  # of a watch that was killed
    with FolderWatch(arriving, line_run.model_dir, output, settle=0, device="cpu", overlays=False) as watch:
        thread = threading.Thread(target=watch.run)
        thread.start()
        until(lambda: watch.journal.last() == 3)
        (output / STOP_FILE).touch()
        thread.join(20)
        assert not thread.is_alive()


def test_what_cannot_be_watched_is_refused(arriving: Path, line_run: Run, tmp_path: Path) -> None:
    folders = WatchedFolders(arriving / "watched")
    with pytest.raises(DataError, match="AltUB's own results"):
        folders.start(line_run, arriving)
    with pytest.raises(DataError, match="is no folder"):
        folders.start(line_run, tmp_path / "nothing")
    with pytest.raises(DataError, match="leave, move or copy"):
        folders.start(line_run, arriving, "burn")
    place = arriving / "watched" / "x-0123456789"
    place.mkdir(parents=True)
    (place / "watch.json").write_text("[]")
    assert folders.list() == []
