"""The card of the smallest defects: measured in the background, kept with the model, shown at once the next time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from altub import Run
from altub.errors import ConfigError
from altub.evaluation.detectability import Detectability, Plan
from altub.evaluation.detectability.record import RESULT_FILE
from altub.evaluation.detectability.report import FOLDER
from altub.ui.app import build_app
from altub.ui.launch import ServerOptions
from altub.ui.models import detectability_work as work
from altub.ui.models.detectability_views import result_html, task_html
from altub.ui.models.detectability_work import Measurement, read_scale


@pytest.fixture
def run(trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ALTUB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(work, "Plan", lambda contrasts: Plan(("spot", "scratch"), contrasts, trials=12, largest=30))
    return Run(shutil.copytree(trained_run.path, tmp_path / "runs/weave"))


def handler(demo: gr.Blocks, name: str) -> Callable[..., Any]:
    """The function of the card with this name, as anybody may call it."""
    names = {getattr(block.fn, "__qualname__", ""): block.fn for block in demo.fns.values()}
    return names[f"build_detectability.<locals>.{name}"]


def test_measured_once_and_shown_at_once(run: Run) -> None:
    demo, measurement = build_app(), Measurement()
    start, look, list_runs = (handler(demo, name) for name in ("start", "look", "list_runs"))
    chosen, _, before, now, *_ = list_runs(measurement, (), None, None)
    assert chosen.value == "weave" and "Not measured yet" in before
    state, _, now, timer, begin, stop = start(measurement, now, "weave", None, 0.25)
    assert timer.active and not begin.interactive and stop.visible and "weave" in state
    measurement.task.wait(120)
    state, html, now, timer, begin, stop = look(measurement, now, "weave", None)
    assert measurement.task.state == "done", measurement.task.text
    assert "Measured 24 synthetic defects" in state and not timer.active and not stop.visible
    result = Detectability.read(run.model_dir / FOLDER)
    assert len(result.trials) == 24 and {defect.defect for defect in result.real} == {"blot"}
    for words in ("Spots", "Scratches", "of 24", "a90/95", "blot", "Synthetic defects are not real ones", " px"):
        assert words in html, words
    assert html.count("data:image/webp") == 2 + 2 * 2, "a curve for light and dark, two examples with heatmaps"
    # Nothing is drawn again as long as nothing changed; a scale changes the unit without a new measurement.
    assert look(measurement, now, "weave", None)[1] == gr.skip()
    assert " mm" in look(measurement, now, "weave", "0.1")[1]
    assert "a90/95" in list_runs(Measurement(), (), None, None)[2], "also in a page that was just started"
    config = json.loads((run.model_dir / "config.json").read_text())
    (run.model_dir / "config.json").write_text(json.dumps(config | {"weights_sha256": "0" * 64}))
    assert "trained further" in result_html(run, None)
    (run.model_dir / FOLDER / RESULT_FILE).write_text("{")
    assert "damaged" in result_html(run, None)


def test_stopped_nothing_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    measurement = Measurement()
    measure = work.measure_detectability

    def stopped_first(*args: Any, **options: Any) -> Detectability:
        measurement.task.stop()
        assert not measurement.start(run, 0.25, None), "one at a time"
        return measure(*args, **options)

    monkeypatch.setattr(work, "measure_detectability", stopped_first)
    assert measurement.start(run, 0.25, None)
    measurement.task.wait(60)
    assert task_html(measurement.task, "weave").endswith("weave: Stopped; nothing was kept.</p>")
    assert not (run.model_dir / FOLDER).exists()


def test_images_that_are_gone_are_said(run: Run) -> None:
    config = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(config | {"data": "/nowhere/<b>"}))
    measurement = Measurement()
    measurement.start(Run(run.path), 0.25, None)
    measurement.task.wait(60)
    html = task_html(measurement.task, measurement.run_id)
    assert "not on this machine any more" in html and "<b>" not in html


def test_what_is_wrong_is_refused_before_the_work(run: Run) -> None:
    assert [read_scale(value) for value in (None, " ", "0.5", "0,08")] == [None, None, 0.5, 0.08]
    for wrong in ("0", -1, "x", "nan", 1e9, []):
        with pytest.raises(ConfigError, match="scale"):
            read_scale(wrong)
    start = handler(build_app(), "start")
    for run_id, scale, contrast, words in (
        ("../weave", None, 0.25, "no run with that id"),
        ("weave", -1, 0.25, "scale"),
        ("weave", None, 0.3, "Choose a contrast"),
        ("weave", None, [], "Choose a contrast"),
    ):
        with pytest.raises(gr.Error, match=words):
            start(Measurement(), (), run_id, scale, contrast)
    with pytest.raises(gr.Error, match="Only whoever runs this page"):
        handler(build_app(ServerOptions(space=True)), "start")(Measurement(), (), "weave", None, 0.25)
