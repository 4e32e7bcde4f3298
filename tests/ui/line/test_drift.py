"""The drift watch of the Line tab: quiet, calm, alarmed and begun anew; by source; and only what the owner allows."""

from __future__ import annotations

import gradio as gr
import numpy as np
import pytest

from altub.line.history import DriftHistory
from altub.ui.line.drift_card import EVERYTHING, DriftHandlers
from tests.ui.line.conftest import Line, inspections


def handlers(line: Line, *, may_change: bool = True) -> DriftHandlers:
    return DriftHandlers(line.services, may_change=may_change, is_local=True)


def test_from_nothing_to_an_alarm_and_anew(line: Line) -> None:
    on, log, noise = handlers(line), line.services.recorder.log, np.random.default_rng(0)
    runs, _ = on.list_runs(None)
    assert runs.value == "line-run"
    state, scores, _, table, source, adapt, anew, seen = on.look("line-run", EVERYTHING, [])
    assert "No image has been inspected" in state and "empty" in scores and table == "" and not source.visible

    log.add(inspections(line.model, (100 + noise.normal(size=60)).tolist()))
    state, scores, capital, table, *_, seen = on.look("line-run", EVERYTHING, seen)
    assert "No change found" in state and "60" in state and "<svg" in scores and "<svg" in capital
    assert "Brightness" in table and "Sharpness" not in table, "only what was measured"
    assert all(value == gr.skip() for value in on.look("line-run", EVERYTHING, seen)), "nothing new"
    log.add(inspections(line.model, (100 + noise.normal(size=60)).tolist()))  # the same images again
    assert all(value == gr.skip() for value in on.look("line-run", EVERYTHING, seen))

    log.add(inspections(line.model, (110 + noise.normal(size=60)).tolist(), start=60, source="http"))
    state, *_, table, source, adapt, anew, seen = on.look("line-run", EVERYTHING, seen)
    assert "The brightness rose from" in state and "alarm" in state and adapt.visible and anew.visible
    assert "moved" in table and source.visible
    assert [name for name, _ in source.choices] == ["All", "HTTP clients", "This page"]
    assert "No change found" in on.look("line-run", "page", [])[0], "each source can be watched alone"

    state, *_, adapt, anew, seen = on.begin_anew("line-run", EVERYTHING)
    assert "No image has been inspected" in state and not adapt.visible and not anew.visible
    log.add(inspections(line.model, (110 + noise.normal(size=40)).tolist(), start=200))
    assert "No change found" in on.look("line-run", EVERYTHING, seen)[0], "the new light is the line now"


def test_what_cannot_be_watched_is_said_in_the_card(line: Line) -> None:
    on = handlers(line, may_change=False)
    assert "No trained model" in on.look(None, EVERYTHING, [])[0]
    assert "no run with that id" in on.look("../line-run", EVERYTHING, [])[0]
    with pytest.raises(gr.Error, match="Only the owner"):
        on.begin_anew("line-run", EVERYTHING)


def test_a_long_log_is_watched_from_its_last_images_on(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("altub.line.history.MOST", 30)
    log = line.services.recorder.log
    log.add(inspections(line.model, [0.0] * 50))
    history = DriftHistory(log, line.model)
    assert history.update() and history.images == 30 and history.points[0].name == "20.png"
    assert not history.update()
