"""Versions in the Models tab: shown, put back, deleted; and only by whom they belong to."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from altub.inference.model_cache import ModelCache
from altub.inference.threshold import Labels, Threshold
from altub.inference.versions import list_versions, save_threshold
from altub.runs.run import Run
from altub.ui.models.versions_panel import VersionsHandlers

THRESHOLD = Threshold(1.5, 0.75, Labels(30, 10, "recall", 0.9, 0.95))


@pytest.fixture
def run(trained_run: Run, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(trained_run.path, tmp_path / "weave")))


def handlers(run: Run, *, may_change: bool = True) -> VersionsHandlers:
    return VersionsHandlers(ModelCache(device="cpu"), run.path.parent, may_change=may_change)


def choices(update: dict[str, Any]) -> list[int]:
    return [number for _, number in update["choices"]]


def test_a_threshold_from_labels_is_shown_reset_and_put_back(run: Run) -> None:
    on = handlers(run)
    card, threshold, table, version, *buttons = on.look(run.id)
    assert card["visible"] and "held-out good images" in threshold and "as trained" in table
    assert not any(part["visible"] for part in (version, *buttons))

    save_threshold(run.model_dir, THRESHOLD, "<b>95 %</b>", author="Ann <x>")
    _, threshold, table, version, *buttons = on.look(run.id)
    assert "With 95 % confidence at least 90 % of defective images exceed it" in threshold
    assert "&lt;b&gt;95 %&lt;/b&gt;" in table and "Ann &lt;x&gt;" in table and "<b>" not in table
    assert table.index("in use") < table.index("training") and choices(version) == [1] and version["value"] == 1
    assert all(part["visible"] for part in buttons)

    _, threshold, table, version, *buttons = on.reset(run.id)
    assert "held-out good images" in threshold and choices(version) == [1, 2] and not buttons[-1]["visible"]
    assert "95 % confidence" in on.restore(run.id, 2)[1]
    assert choices(on.remove(run.id, 3)[3]) == [1] and len(list_versions(run.model_dir)) == 2


def test_what_cannot_be_is_one_sentence(run: Run) -> None:
    save_threshold(run.model_dir, THRESHOLD, "")
    on = handlers(run)
    for answer, arguments, words in (
        (on.restore, (run.id, None), "Choose a version"),
        (on.restore, (run.id, 9), "no version 9"),
        (on.remove, (run.id, 2), "is in use"),
        (on.reset, ("../weave",), "no run with that id"),
        (on.reset, (None,), "Choose a run"),
        (handlers(run, may_change=False).reset, (run.id,), "Only the owner"),
    ):
        with pytest.raises(gr.Error, match=words):
            answer(*arguments)
    assert on.look("gone")[0] == on.look(None)[0] == {"visible": False, "__type__": "update"}
    assert not handlers(run, may_change=False).look(run.id)[4]["visible"]


def test_a_model_that_is_being_trained_is_left_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status = run.read_status()
    status.state = "queued"
    run.write_status(status)
    monkeypatch.setattr(Run, "status", property(Run.read_status))  # nobody holds its lock here
    with pytest.raises(gr.Error, match="being trained"):
        handlers(run).reset(run.id)
