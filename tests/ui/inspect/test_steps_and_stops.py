"""Picking images of a batch, another model for it, and stopping one."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import gradio as gr
import pytest

from altub.inference.batch import Source
from altub.ui.inspect.handlers import EVERYTHING
from altub.ui.inspect.inspection import (
    add_to_batch,
    threshold_at,
)


def test_an_image_is_picked_by_its_number_and_what_could_not_be_read_is_not(batch, tmp_path, services, handlers):
    (tmp_path / "notes.txt").write_text("hello")
    unreadable = Source(tmp_path / "notes.txt", "notes.txt")
    batch, _ = add_to_batch(services, "me", batch.run_id, [unreadable, batch.sources[0]])
    last, look = len(batch.items), (0, 0.5, "inferno", True)
    number_, card, *_ = handlers.pick(SimpleNamespace(number=last), "me", *look)
    assert number_ == last and batch.item(last).source.name in card
    with pytest.raises(gr.Error, match=r"notes\.txt"):
        handlers.pick(SimpleNamespace(number=last - 1), "me", *look)
    for number in (0, last + 1, "1", 1.0, None, True, [1]):
        with pytest.raises(gr.Error, match="image"):
            handlers.pick(SimpleNamespace(number=number), "me", *look)
    with pytest.raises(gr.Error, match="drop the images again"):
        handlers.pick(SimpleNamespace(number=1), "nobody", *look)


def test_another_model_inspects_the_batch_again_and_the_same_one_does_not(
    batch, runs_folder, sessions, forward_passes, handlers
):
    look, quiet = (1, 0.5, "inferno", True), lambda *_, **__: None
    shutil.copytree(runs_folder / batch.run_id, runs_folder / "other-run")
    for run_id, session in ((batch.run_id, "me"), ("other-run", "nobody"), (None, "me"), ("", "")):
        assert handlers.begin_to_follow(run_id, session) == (gr.skip(),) * 2
        assert handlers.follow_run(run_id, session, *look, progress=quiet) == (gr.skip(),) * EVERYTHING
        assert forward_passes == []
    assert 'class="hint outdated"' in handlers.choose_run("other-run", "me")[-1]
    assert handlers.choose_run(batch.run_id, "me")[-1] == ""
    session, button = handlers.begin_to_follow("other-run", "me")
    assert session == "me" and button.visible
    shown = handlers.follow_run("other-run", "me", *look, progress=quiet)
    assert len(shown) == EVERYTHING and sum(forward_passes) == len(batch.items)
    assert sessions.get("me").run_id == "other-run" and shown[-1] == ""
    assert shown[14].value == 1, "the rate that was chosen stays"


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
    assert [row["kind"] for row in shown[13]["rows"]].count("pending") == 4
    assert "4 pending" in shown[12] and "unreadable" not in shown[12]
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
