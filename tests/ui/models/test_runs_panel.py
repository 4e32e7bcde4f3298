"""The table of runs and what can be done with them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from altub.runs.notes import change_notes, read_notes
from altub.runs.run import Run
from altub.ui.models.runs_panel import RunsHandlers
from altub.ui.offers import find_model, list_offers
from altub.ui.watch import RunWatch


@pytest.fixture
def on(runs_folder: Path) -> RunsHandlers:
    return RunsHandlers(RunWatch(), may_change=True, may_delete=True)


@pytest.fixture
def run(runs_folder: Path) -> Run:
    return Run.find("weave-run", runs_folder)


def press(on: RunsHandlers, run_id: Any) -> list[Any]:
    return on.choose(SimpleNamespace(_data={"run": run_id}))


def test_a_name_reaches_every_list(on: RunsHandlers, run: Run) -> None:
    chosen, card, about, *_ = press(on, run.id)
    assert chosen == run.id and card["visible"] is True and run.id in about
    fields = on.save(run.id, "Line 3 <b>", "trial, lids, ,trial", "tried on Monday")
    assert fields[3:6] == ["Line 3 <b>", "trial, lids", "tried on Monday"]
    on.pin(run.id)
    table, summary, *_ = on.look("line TRIAL production", False, run.id)
    assert "Line 3 &lt;b&gt;" in table and "in production" in table and 'aria-pressed="true"' in table
    assert "1 run of 1" in summary
    assert "No run has all" in on.look("line nowhere", False, None)[0]
    assert list_offers()[0].label.startswith("★ Line 3 <b> (weave)")


def test_the_archive_hides_a_run_and_gives_it_back(on: RunsHandlers, run: Run) -> None:
    on.archive(run.id)
    assert "No runs yet" in on.look("", False, None)[0] and "archived" in on.look("", True, None)[0]
    assert list_offers() == [] and on.watch.views() == []
    assert find_model(run.id).id == run.id, "by its id it is still found"
    on.archive(run.id)
    assert len(list_offers()) == 1


def test_a_deleted_run_can_be_brought_back(on: RunsHandlers, run: Run) -> None:
    assert on.delete(run.id)[:1] == [None] and not run.path.exists()
    _, _, trash, gone = on.look("", False, None)
    assert trash["visible"] is True and gone["choices"] == [run.id]
    assert on.undo(run.id)[0] == run.id and run.path.is_dir()
    assert on.look("", False, None)[2]["visible"] is False


def test_strangers_and_wrong_ids_change_nothing(runs_folder: Path, run: Run) -> None:
    guest = RunsHandlers(RunWatch(), may_change=False, may_delete=False)
    change_notes(run, name="kept")
    for call in (
        lambda: guest.save(run.id, "x", "", ""),
        lambda: guest.pin(run.id),
        lambda: guest.archive(run.id),
        lambda: guest.delete(run.id),
        lambda: guest.undo(run.id),
    ):
        with pytest.raises(gr.Error, match="owner"):
            call()
    owner = RunsHandlers(RunWatch(), may_change=True, may_delete=True)
    for wrong in ("../weave-run", ".trash", "", 7):
        for call in (owner.pin, owner.delete, owner.undo, lambda run_id: press(owner, run_id)):
            with pytest.raises(gr.Error):
                call(wrong)
    assert read_notes(run).name == "kept"
