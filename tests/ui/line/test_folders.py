"""Watched folders on the page: started, seen, stopped and removed; and only by the owner."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from altub.line import watched as module
from altub.line.watch import FolderWatch
from altub.ui.line.drift_card import EVERYTHING, DriftHandlers
from altub.ui.line.folder_card import FolderHandlers
from tests.line.parts import parts, write_parts
from tests.ui.line.conftest import Line


class Process:
    """In place of a process that would take seconds to start; tests/line/test_watched.py starts real ones."""

    def __init__(self, *arguments: str, **_: Any) -> None:
        self.arguments, self.code = arguments, None
        self._ended = threading.Event()

    def poll(self) -> int | None:
        return self.code

    def wait(self) -> None:
        self._ended.wait()

    def terminate(self) -> None:
        self.code = 0
        self._ended.set()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    found: list[Process] = []

    def spawn(*arguments: str, **options: Any) -> Process:
        found.append(Process(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(module, "spawn", spawn)
    return found


def press(action: str, folder: Any) -> Any:
    return SimpleNamespace(_data={"action": action, "folder": folder})


def test_a_folder_is_watched_seen_stopped_and_removed(line: Line, started: list[Process], tmp_path: Path) -> None:
    on = FolderHandlers(line.services, is_local=True)
    place = write_parts(tmp_path / "camera <3>", [*parts(2, 1), *parts(1, 2, blot=True)])
    assert "No folder is being watched" in on.look([])[0]
    html, seen = on.start("line-run", str(place), "copy")
    assert "Starting" in html and "camera &lt;3&gt;" in html and "<3>" not in html
    assert started[0].arguments[:3] == ("altub", "watch", str(place)) and "copy" in started[0].arguments
    assert on.look(seen)[0] == gr.skip(), "nothing new"
    (watched,) = line.services.folders.list()

    output, log = line.services.folders.output(watched), line.services.recorder.log
    with FolderWatch(place, line.run.model_dir, output, settle=0, device="cpu", log=log) as watch:
        watch.run(once=True)
        html, _ = on.look(seen)
        assert "Watching" in html and "<b>3</b> files inspected" in html and html.count("<figure") == 3
        assert html.count("data:image/webp") == 3 and "0.png" in html
    drift = DriftHandlers(line.services, may_change=True, is_local=True).look("line-run", EVERYTHING, [])
    assert ("Watched folder camera <3>", watch.journal.name) in drift[4].choices

    html, _ = on.act(press("stop", watched.id))
    assert "Stopped" in html and started[0].code == 0 and 'data-action="start"' in html
    html, _ = on.act(press("start", watched.id))
    assert len(started) == 2 and "Starting" in html
    on.act(press("stop", watched.id))
    html, _ = on.act(press("forget", watched.id))
    assert "No folder is being watched" in html and (output / "results.csv").is_file()


def test_an_answer_that_arrives_late_does_not_stay(line: Line, started: list[Process], tmp_path: Path) -> None:
    on = FolderHandlers(line.services, is_local=True)
    late = on.look([])
    newest = on.start("line-run", str(write_parts(tmp_path / "in", parts(1, 1))), "leave")
    assert on.look(newest[1]) == [gr.skip()] * 2
    assert on.look(late[1])[0] == newest[0], "the page shows the old list: it gets the new one once more"


def test_why_a_watch_ended_by_itself_is_shown(line: Line, started: list[Process], tmp_path: Path) -> None:
    on, place = FolderHandlers(line.services, is_local=True), tmp_path / "in"
    place.mkdir()
    on.start("line-run", str(place), "leave")
    started[0].terminate()
    started[0].code = 2
    (watched,) = line.services.folders.list()
    log = line.services.folders.root / watched.id / "watch.log"
    log.write_text("Watching; stop with Ctrl+C.\nThe disk is full: <b>free</b> some space.\n")
    html, _ = on.look([])
    assert "Stopped" in html and "The disk is full: &lt;b&gt;free&lt;/b&gt; some space." in html


def test_what_cannot_be_watched_is_one_sentence(line: Line, started: list[Process], tmp_path: Path) -> None:
    on, guest = FolderHandlers(line.services, is_local=True), FolderHandlers(line.services, is_local=False)
    for answer, arguments, words in (
        (on.start, ("line-run", "", "leave"), "no folder yet"),
        (on.start, ("line-run", str(tmp_path / "nothing"), "leave"), "is not a folder"),
        (on.start, ("line-run", str(tmp_path), "burn"), "leave, move or copy"),
        (on.start, ("line-run", str(tmp_path), "leave"), "own results"),  # the data root lies in it
        (on.start, ("../x", str(line.run.path), "leave"), "no run with that id"),
        (on.start, (None, str(line.run.path), "leave"), "Choose a model"),
        (on.act, (press("stop", "../x"),), "no longer in the list"),
        (guest.start, ("line-run", str(line.run.path), "leave"), "served to its own machine"),
        (guest.act, (press("stop", "x"),), "only while the page is served to its own machine"),
    ):
        with pytest.raises(gr.Error, match=words):
            answer(*arguments)
    assert started == [] and guest.look([]) == [gr.skip()] * 2
