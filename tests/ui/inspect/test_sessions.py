"""Sessions of visitors."""

from __future__ import annotations

import shutil
from dataclasses import replace

import gradio as gr
import pytest

from altub.errors import RunError
from altub.ui.inspect.handlers import EVERYTHING
from altub.ui.inspect.inspection import add_to_batch
from altub.ui.inspect.sessions import SessionStore


def test_sessions_are_bounded_and_clean_up(tmp_path, batch):
    store = SessionStore(tmp_path / "store", max_images=2 * len(batch.items))
    ids = [store.new() for _ in range(3)]
    assert len(set(ids)) == 3 and all(store.knows(session) and store.get(session) is None for session in ids)
    for session in ids:
        store.put(session, replace(batch, folder=store.new_folder()))
    assert [store.get(session) is not None for session in ids] == [False, True, True]
    assert len(list(store.root.iterdir())) == 2
    store.discard(ids[1])
    assert len(list(store.root.iterdir())) == 1
    assert store.get(None) is None and store.get(["x"]) is None
    with pytest.raises(RunError):
        store.require(ids[0])


LOOK = (0.5, "inferno", True)


def test_a_reload_finds_the_last_inspection_with_its_model(batch, sessions, handlers):
    remembered, listed = handlers.remember("me", None)
    assert remembered == ["me"] and listed.visible and listed.value == "me"
    assert listed.choices[0][0].endswith(f"8 images · {batch.title}")
    *shown, run, listed = handlers.restore(remembered, None, *LOOK)
    assert shown[0] == "me" and shown[1] == 1 and len(shown) == EVERYTHING
    assert [row["number"] for row in shown[13]["rows"]] == list(range(1, 9)) and run.value == batch.run_id
    assert handlers.restore(remembered, batch.run_id, *LOOK)[0] == "me"
    # An address that names another model, or a browser that knows nothing (or sends anything): nothing is restored.
    for known, asked in ((remembered, "other-run"), ([], None), (None, None), ("me", None), ([["me"], 3, "x"], None)):
        *nothing, listed = handlers.restore(known, asked, *LOOK)
        assert nothing == [gr.skip()] * (EVERYTHING + 1)


def test_inspections_are_listed_opened_again_and_deleted(batch, runs_folder, sessions, sources, services, handlers):
    other = sessions.new()
    add_to_batch(services, other, batch.run_id, sources[:2])
    remembered, listed = handlers.remember(other, ["me", "gone"])
    assert remembered == [other, "me"] and [value for _, value in listed.choices] == [other, "me"]
    assert handlers.open_kept("me", *LOOK)[0] == "me"
    for missing in ("gone", None, 7, ["me"], ""):
        with pytest.raises(gr.Error, match="no longer kept"):
            handlers.open_kept(missing, *LOOK)

    emptied = handlers.begin_new(batch.run_id)
    assert emptied[0] == "" and len(emptied) == EVERYTHING and sessions.get(other) is not None, "New keeps it"
    handlers.clear(other, batch.run_id)
    remembered, listed = handlers.remember("", remembered)
    assert remembered == ["me"] and listed.value is None
    shutil.rmtree(runs_folder / batch.run_id)
    assert handlers.open_kept("me", *LOOK)[-1] == gr.skip(), "a model that was deleted cannot be chosen"
    shutil.rmtree(batch.folder)  # cleaned away after a day
    assert handlers.remember("", remembered)[0] == []


def test_a_browser_remembers_few_and_the_server_holds_a_bounded_number(batch, sessions, monkeypatch):
    monkeypatch.setattr("altub.ui.inspect.sessions.MAX_SESSIONS", 20)
    monkeypatch.setattr("altub.ui.inspect.sessions.REMEMBERED", 3)
    ids = [sessions.new() for _ in range(8)]
    for session in ids:
        sessions.put(session, replace(batch, folder=sessions.new_folder()))
    assert [one.session for one in sessions.kept(ids)] == ids[:3]
    for _ in range(30):
        sessions.new()
    assert sessions.kept(ids) == [] and not any(sessions.knows(session) for session in ids)
    assert list(sessions.root.iterdir()) == []
