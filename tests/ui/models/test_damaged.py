"""The Models tab names damaged runs and deletes them; "latest" is never one of somebody else's."""

from __future__ import annotations

import shutil
from pathlib import Path

import gradio as gr
import pytest

from altub import Run
from altub.errors import RunError
from altub.hub.pull import ORIGIN_FILE
from altub.runs.damaged import DamagedRun
from altub.ui.app import build_app
from altub.ui.launch import ServerOptions
from altub.ui.models.damaged import damaged_list
from altub.ui.offers import find_model, list_offers


@pytest.fixture
def root(trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALTUB_RUNS", str(tmp_path / "runs"))
    for name in ("sound", "other"):
        shutil.copytree(trained_run.path, tmp_path / "runs" / name)
    return tmp_path / "runs"


def handler(demo: gr.Blocks, name: str):
    """The function of the tab with this name, as anybody may call it."""
    return next(
        block.fn
        for block in demo.fns.values()
        if getattr(block.fn, "__qualname__", "") == f"build_damaged.<locals>.{name}"
    )


def test_names_and_reasons_are_escaped() -> None:
    html = damaged_list([DamagedRun("<img src=x>", "its <b>config</b>")])
    assert "&lt;img" in html and "<img" not in html and "<b>config" not in html


def test_a_damaged_model_takes_no_other_out_of_the_lists(root: Path) -> None:
    (root / "other/model/config.json").write_text('{"format": "altub", "format_version": 1, "info": {"epoch": "2.0"}}')
    assert [offer.id for offer in list_offers()] == ["sound"]
    assert find_model("latest").id == "sound"
    look = handler(build_app(), "look")
    group, html, chosen, *_ = look()
    assert group.visible and "other" in html and chosen.value == "other"


def test_only_damaged_runs_and_only_by_the_owner(root: Path) -> None:
    (root / "other/config.json").write_text("{")
    remove = handler(build_app(), "remove")
    with pytest.raises(gr.Error, match="not damaged"):
        remove("sound")
    for foreign in (ServerOptions(space=True), ServerOptions(host="0.0.0.0", auth=("a", "b"))):
        with pytest.raises(gr.Error, match="owner"):
            handler(build_app(foreign), "remove")("other")
    assert (root / "other").exists()
    remove("other")
    assert sorted(path.name for path in root.iterdir()) == ["sound"]


def test_latest_is_never_one_that_was_pulled(root: Path) -> None:
    (root / "sound" / ORIGIN_FILE).write_text("{}")
    assert find_model("latest").id == "other" and find_model("sound").id == "sound"
    (root / "other" / ORIGIN_FILE).write_text("{}")
    with pytest.raises(RunError, match="no finished training yet"):
        find_model("latest")
