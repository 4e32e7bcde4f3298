"""Stepping through a batch, and stopping one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest

from altub.inference.batch import Source
from altub.ui.inspect.inspection import (
    add_to_batch,
    neighbour,
    threshold_at,
)


def test_steps_go_round_and_pass_over_what_could_not_be_read(batch, tmp_path, services, handlers):
    (tmp_path / "notes.txt").write_text("hello")
    batch, _ = add_to_batch(
        services,
        "me",
        batch.run_id,
        [Source(tmp_path / "notes.txt", "notes.txt"), batch.sources[0]],
    )
    last = len(batch.items)
    assert neighbour(batch, last - 2, 1) == last and neighbour(batch, last, -1) == last - 2
    assert neighbour(batch, last, 1) == 1 and neighbour(batch, 1, -1) == last
    assert neighbour(replace(batch, items=()), 1, 1) == 0
    number_, card, *_ = handlers.step(1, "me", 1, 0, 0.5, "inferno", True)
    assert number_ == 2 and batch.item(2).source.name in card
    with pytest.raises(gr.Error, match="drop the images again"):
        handlers.step(1, "nobody", 1, 0, 0.5, "inferno", True)


def test_a_stopped_batch_keeps_what_is_done(runs_folder, sessions, sources, monkeypatch, handlers):
    monkeypatch.setattr("altub.data.images.reading.CHUNK_IMAGES", 2)

    def progress(share: tuple[int, int], **_) -> None:
        if share[0] == 4:
            handlers.stop(session)

    session, button = handlers.begin("")
    assert button.visible
    run_id, files = next(runs_folder.iterdir()).name, [str(source.path) for source in sources]
    names = [source.name for source in sources]
    shown = handlers.inspect_files(files, names, run_id, session, 0, 0.5, "inferno", True, progress=progress)
    assert len(sessions.get(session).items) == 4 and "Stopped after 4 of 8 images" in shown[2]
    quiet = lambda *_, **__: None  # noqa: E731
    more = handlers.inspect_files(files[:2], names[:2], run_id, session, 0, 0.5, "inferno", True, progress=quiet)
    assert len(sessions.get(session).items) == 6 and more[2] == ""  # a new batch is not stopped by the old wish
    handlers.stop("nobody")

    # A click between the button's appearance and the first image counts; one after the end does not.
    handlers.stop(session)
    handlers.begin(session)
    handlers.stop(session)
    early = handlers.inspect_files(files, names, run_id, session, 0, 0.5, "inferno", True, progress=quiet)
    assert len(sessions.get(session).items) == 8 and "Stopped after 2 of 8 images" in early[2]
    handlers.stop(session)
    handlers.begin(session)
    handlers.inspect_files(files, names, run_id, session, 0, 0.5, "inferno", True, progress=quiet)
    assert len(sessions.get(session).items) == 16


def test_inspecting_all_again_and_stopping_keeps_what_was_there(batch, runs_folder, sessions, monkeypatch, handlers):
    monkeypatch.setattr("altub.data.images.reading.CHUNK_IMAGES", 2)
    look = (0, 0.5, "inferno", True)

    def progress(share: tuple[int, int], **_) -> None:
        if share[0] == 4:
            handlers.stop("me")

    shutil.copytree(runs_folder / batch.run_id, runs_folder / "other-run")
    shown = handlers.inspect_again("other-run", "me", *look, progress=progress)
    stopped = sessions.get("me")
    assert stopped.run_id == "other-run" and stopped.sources == batch.sources
    assert [item.number for item in stopped.items] == list(range(1, 9)) and len(stopped.inspected) == 4
    assert "Stopped after 4 of 8 images" in shown[2] and "4 earlier images are pending" in shown[2]
    assert [row[2] for row in shown[12]].count('<span class="chip plain">Pending</span>') == 4
    assert "4 pending" in shown[11] and "unreadable" not in shown[11]
    assert "inspect all again" in stopped.rows(threshold_at(stopped, 0))[-1]["error"]

    # The same model again: everything, also what waits.
    handlers.inspect_again("other-run", "me", *look, progress=lambda *_, **__: None)
    assert len(sessions.get("me").inspected) == 8 and sessions.get("me").sources == batch.sources


def test_an_example_of_one_visitor_is_not_in_the_batch_of_another(runs_folder, sessions, handlers):
    click, quiet = SimpleNamespace(index=0), lambda *_, **__: None
    look = (0, 0.5, "inferno", True)
    first, second = (
        handlers.inspect_example(click, next(runs_folder.iterdir()).name, "", *look, progress=quiet)[0]
        for _ in range(2)
    )
    assert first and second and first != second
    assert [len(sessions.get(session).items) for session in (first, second)] == [1, 1]
    assert sessions.get("") is None
