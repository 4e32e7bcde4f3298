"""Handlers of the Train tab, called as the page calls them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from altub.runs.launchers.base import LocalLauncher
from altub.runs.run import Run
from altub.settings import runs_root
from altub.training.config import TrainingConfig, make_config
from altub.ui import choices
from altub.ui.choices import Choices
from altub.ui.services import Services
from altub.ui.train import form_handlers
from altub.ui.train.data_handlers import DataHandlers
from altub.ui.train.data_source import MVTEC, OWN
from altub.ui.train.form_values import form_settings, values_of
from altub.ui.train.handlers import PARTS, TrainHandlers
from altub.ui.train.regions_panel import RegionPicture
from altub.ui.train.updates import Seen
from tests.conftest import write_category


class Idle(LocalLauncher):
    """Starts nothing."""

    def start(self, run: Run) -> None:
        self.started = run


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setenv("ALTUB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path / "data"))
    return Services(launcher=Idle())


@pytest.fixture
def handlers(services: Services) -> TrainHandlers:
    return TrainHandlers(services, is_local=True)


def values(**changed: Any) -> list[Any]:
    return list((values_of(make_config("quick-look", category="c")) | changed).values())


def look(handlers: TrainHandlers, seen: Seen, wish: Any = None, arrived: Any = None) -> dict[str, Any]:
    return dict(zip(PARTS, handlers.look(seen, "", wish, "mean", arrived), strict=True))


def test_start_shows_the_new_run(handlers: TrainHandlers, tmp_path: Path) -> None:
    write_category(tmp_path / "data/mvtec/bottle")
    seen = Seen()
    assert "No training yet" in look(handlers, seen)["status"] and seen.run_id is None
    handlers.start(seen, "", MVTEC, "bottle", "", "quick-look", *values(epochs=3))
    run = Run.open(tmp_path / "runs" / seen.run_id)
    assert (run.config.category, run.config.epochs) == ("bottle", 3)
    shown = look(handlers, seen)
    assert "bottle" in shown["status"] and shown["remembered"] == seen.run_id
    assert shown["live"]["visible"] is True
    again = look(handlers, seen, arrived=shown["arrived"])
    assert again["loss"] == gr.skip() and again["picker"] == gr.skip(), "nothing changed"


def test_the_state_is_right_whatever_order_answers_arrive_in(handlers: TrainHandlers, tmp_path: Path) -> None:
    write_category(tmp_path / "data/mvtec/bottle")
    seen = Seen()
    handlers.start(seen, "", MVTEC, "bottle", "", "quick-look", *values())
    first = look(handlers, seen)
    run = Run.open(tmp_path / "runs" / seen.run_id)
    late = look(handlers, seen, arrived=first["arrived"])
    with run.changing_status() as status:
        status.state, status.stage = "stopped", "stopped"
    stopped = look(handlers, seen, arrived=first["arrived"])
    assert "Stopped" in stopped["status"] and stopped["resume"]["visible"]
    # `late` was drawn last, and says so.
    again = look(handlers, seen, arrived=late["arrived"])
    assert again["status"] == stopped["status"] and again["resume"]["visible"] and again["tiles"] == gr.skip()


def test_what_failed_is_the_title(handlers: TrainHandlers, services: Services, tmp_path: Path) -> None:
    write_category(tmp_path / "data/mvtec/bottle")
    data = DataHandlers(services, is_local=True)
    for title, words, call in (
        ("Training not started", "Image size", lambda: start(handlers, image_size=7)),
        ("Training not started", "Choose a category first", lambda: handlers.start(Seen(), "", MVTEC, None, "", "x")),
        ("Training not stopped", "removed", lambda: handlers.stop(Seen(), "")),
        ("Training not resumed", "removed", lambda: handlers.resume(Seen(), "")),
        ("Run not available", "removed", lambda: handlers.choose_run(Seen(), "../..")),
        ("Download not started", "accepting its licence", lambda: data.start_download("bottle", False)),
        ("Download not started", "15 categories", lambda: data.start_download("../bottle", True)),
        ("Images not stored", "at-field-upload-name", lambda: data.store("", None, None)),
        ("Images not stored", "at-field-upload-good", lambda: data.store("lids", None, None)),
        ("Images not stored", "good images first", lambda: data.store("lids", None, [str(tmp_path / "x.png")])),
        ("Folder not usable", "at-field-train-folder", lambda: data.choose_folder(str(tmp_path / "none"))),
        ("Folder not usable", "enter its path", lambda: data.choose_folder(" ")),
        ("Source not available", "source of images", lambda: data.choose_source("nowhere", "")),
        ("Preset not available", "no preset 'x'", lambda: form_handlers.choose_preset("x")),
        ("Flow not available", "flow", lambda: form_handlers.choose_kind("x", "quick-look")),
    ):
        with pytest.raises(gr.Error) as caught:
            call()
        assert caught.value.title == title and words in caught.value.message, title


def test_regions_are_drawn_on_a_good_image_and_go_into_the_run(handlers: TrainHandlers, tmp_path: Path) -> None:
    write_category(tmp_path / "data/mvtec/bottle")
    look_at = RegionPicture(is_local=True).look
    assert look_at(MVTEC, "bottle", "")["image"].startswith("data:image/")
    with pytest.raises(gr.Error, match="no longer there"):
        look_at(MVTEC, "screw", "")
    seen, drawn = Seen(), '[{"kind": "ignore", "points": [[0, 0], [0.5, 0], [0, 0.5]]}]'
    handlers.start(seen, "", MVTEC, "bottle", "", "quick-look", *values(regions=drawn))
    config = Run.open(tmp_path / "runs" / seen.run_id).config
    assert config.regions[0].kind == "ignore" and values_of(config)["regions"]  # a clone has them again
    with pytest.raises(gr.Error, match=r"Regions\.0\.kind"):
        start(handlers, regions='[{"kind": "hide"}]')
    names = [entry.name for entry in form_settings()]
    assert form_handlers.choose_preset("quick-look")[3 + names.index("regions")] == gr.skip()


def test_a_former_choice_reaches_the_handlers() -> None:
    field = Choices([("a", "a")], filterable=False)
    assert field.preprocess("gone") == "gone" and field.get_block_name() == "dropdown"
    assert not Path(choices.__file__).with_suffix(".pyi").exists()


def start(handlers: TrainHandlers, **changed: Any) -> None:
    handlers.start(Seen(), "", MVTEC, "bottle", "", "quick-look", *values(**changed))


def test_sources_bring_their_categories(services: Services, tmp_path: Path) -> None:
    data = DataHandlers(services, is_local=True)
    choices, view, download, own, _ = data.choose_source(MVTEC, "")
    assert choices["choices"] == [] and "No category of MVTec AD found" in view
    assert (download["visible"], own["visible"]) == (True, False)
    write_category(tmp_path / "parts/weave")
    assert data.choose_folder(str(tmp_path / "parts"))["value"] == "folder:weave"
    assert "12 for training" in data.draw(OWN, "folder:weave", str(tmp_path / "parts"))


def test_choices_of_the_form_fill_its_fields() -> None:
    names = [entry.name for entry in form_settings()]
    chosen = dict(zip(names, form_handlers.choose_kind("cflow", "quick-look"), strict=True))
    assert chosen["flow.clamp"] == 1.9 and chosen["flow.hidden_ratio"] == 2.0 and chosen["batch_size"] == gr.skip()
    base = dict(zip(form_handlers.base_names(), form_handlers.choose_variant("strict", "quick-look"), strict=True))
    assert base["base.joint"] is False and base["base.lr_factor"] == gr.skip()
    assert form_handlers.choose_variant(form_handlers.CUSTOM, "quick-look") == [gr.skip()] * len(base)
    flow = [entry.name for entry in form_settings() if entry.group == "flow"]
    visible = dict(zip(flow, form_handlers.show_fields("cflow"), strict=True))
    assert visible["flow.fibres"]["visible"] and not visible["flow.kernels"]["visible"]


def test_the_run_of_the_last_visit_is_shown_again(handlers: TrainHandlers, small_config: TrainingConfig) -> None:
    for name in ("old", "new"):
        run = Run.create(runs_root() / name, small_config)
        status = run.read_status()
        status.state = "finished"
        run.write_status(status)
    seen = Seen()
    look(handlers, seen, wish="old")
    assert seen.run_id == "old"


def test_one_click_trains_the_sample_and_more_of_them_queue(handlers: TrainHandlers, services: Services) -> None:
    seen = Seen()
    assert look(handlers, seen)["first"]["visible"] is True
    handlers.start_sample(seen, "")
    first = seen.run_id
    config = Run.find(first, runs_root()).config
    assert (config.data, config.category) == ("sample", "bracket") and config.epochs == 6
    handlers.start_sample(seen, "")
    shown = look(handlers, seen)
    assert shown["first"]["visible"] is False and shown["start"]["value"] == "Queue training"
    assert shown["stop"]["visible"] is True and "next in the queue" in shown["now"]
    assert f'data-run="{seen.run_id}"' in shown["queue"] and first not in shown["queue"]
    handlers.change_queue(seen, "", SimpleNamespace(_data={"run": seen.run_id, "action": "cancel"}))
    assert Run.find(seen.run_id, runs_root()).stop_requested()
    with pytest.raises(gr.Error, match="removed"):
        handlers.change_queue(seen, "", SimpleNamespace(_data={"run": "../x", "action": "cancel"}))
