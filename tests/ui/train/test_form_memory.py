"""The form comes back as it was left, and takes a run's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from altub.runs.run import Run
from altub.settings import runs_root
from altub.training.config import TrainingConfig, make_config
from altub.ui.services import Services
from altub.ui.train.data_handlers import DataHandlers
from altub.ui.train.data_source import FOLDER, MVTEC, OWN, SAMPLE, UPLOAD
from altub.ui.train.form_memory import FormMemory, place_of
from altub.ui.train.form_values import form_settings, values_of
from altub.ui.train.uploads import uploads_root
from tests.conftest import write_category

NAMES = [entry.name for entry in form_settings()]
HEAD = ("source", "folder", "category", "view", "download", "own", "timer", "preset", "about", "variant", "strip")


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FormMemory:
    monkeypatch.setenv("ALTUB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path / "data"))
    write_category(tmp_path / "data/mvtec/bottle")
    services = Services()
    return FormMemory(DataHandlers(services, is_local=True), services.watch)


def by_name(filled: list[Any]) -> dict[str, Any]:
    return dict(zip([*HEAD, *NAMES], filled, strict=True))


def kept(memory: FormMemory, ready: bool = True, preset: str = "quick-look", **changed: Any) -> Any:
    values = values_of(make_config(preset, category="c")) | changed
    return memory.remember(ready, MVTEC, "bottle", "", preset, *values.values())


def test_only_what_differs_from_the_preset_is_kept_and_comes_back(memory: FormMemory) -> None:
    known = kept(memory, epochs=9, **{"base.joint": False})
    assert known["changed"] == {"epochs": 9, "base.joint": False}
    assert kept(memory, ready=False, epochs=9) == gr.skip()
    ready, *filled = memory.restore(known)
    form = by_name(filled)
    assert ready is True and (form["source"], form["category"]["value"]) == (MVTEC, "bottle")
    assert (form["epochs"], form["base.joint"], form["variant"]) == (9, False, "custom")
    assert form["image_size"] == 256 and form["preset"] == "quick-look"


@pytest.mark.parametrize("foreign", [None, 7, {}, {"preset": "none"}, {"preset": ["x"]}])
def test_what_is_no_form_changes_nothing(memory: FormMemory, foreign: Any) -> None:
    ready, *filled = memory.restore(foreign)
    assert ready is True and len(filled) == len(HEAD) + len(NAMES)
    assert all(value == gr.skip() for value in filled)


def test_values_that_fields_do_not_take_are_left_out(memory: FormMemory) -> None:
    changed = {"epochs": "many", "flow.kind": "gone", "augment": ["spin"], "seed": True, "batch_size": 8, "no": 1}
    filled = memory.restore({"source": "moon", "category": [], "preset": "quick-look", "changed": changed})[1:]
    form, usual = by_name(filled), values_of(make_config("quick-look", category="c"))
    assert form["batch_size"] == 8 and form["source"] == SAMPLE
    assert all(form[name] == usual[name] for name in ("epochs", "flow.kind", "augment", "seed"))


def test_a_clone_has_the_images_and_settings_of_the_run(memory: FormMemory, small_config: TrainingConfig) -> None:
    Run.create(runs_root() / "weave", small_config)
    form = by_name(memory.clone("weave"))
    assert (form["source"], form["folder"], form["category"]["value"]) == (OWN, small_config.data, FOLDER + "weave")
    assert {name: form[name] for name in NAMES} == values_of(small_config)
    with pytest.raises(gr.Error, match="removed"):
        memory.clone("../weave")


def test_where_the_images_of_a_run_are_in_the_form(memory: FormMemory, tmp_path: Path) -> None:
    (uploads_root() / "lids/good").mkdir(parents=True)
    (uploads_root() / "lids/good/a.png").write_bytes((tmp_path / "data/mvtec/bottle/train/good/000.png").read_bytes())

    def place(data: Any, category: str, is_local: bool = True) -> tuple[str, str, str | None]:
        return place_of(make_config(data=str(data), category=category), is_local)

    assert place("sample", "fabric") == (SAMPLE, "", "fabric")
    assert place("sample", "gone") == (SAMPLE, "", None)
    assert place(tmp_path / "data/mvtec", "bottle") == (MVTEC, "", "bottle")
    assert place(uploads_root() / "lids", "lids") == (OWN, "", UPLOAD + "lids")
    assert place(tmp_path / "away", "x") == (OWN, str(tmp_path / "away"), None)
    assert place(tmp_path / "away", "x", is_local=False) == (OWN, "", None)
