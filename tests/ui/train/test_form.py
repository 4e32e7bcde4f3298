"""The form of the settings: filled from a preset, read back as a configuration."""

from __future__ import annotations

import re
from typing import Any

import gradio as gr
import pytest

from altub.errors import ConfigError
from altub.fields import setting, settings_of
from altub.training import fields
from altub.training.config import PRESETS, TrainingConfig, make_config
from altub.training.fields import all_settings, value_of
from altub.training.schedule import VARIANTS
from altub.ui.train import form_values
from altub.ui.train.form_values import (
    AUTO_NUMBER,
    changed_by_kind,
    config_from,
    form_settings,
    values_of,
    variant_values,
)
from altub.ui.train.form_views import schedule_strip
from altub.ui.train.settings_form import SettingsForm, build_form


@pytest.mark.parametrize("preset", PRESETS)
def test_the_form_gives_back_what_a_preset_says(preset: str) -> None:
    config = make_config(preset, data="d", category="c")
    assert config_from("d", "c", preset, *values_of(config).values()) == config


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_form_gives_back_every_variant(variant: str) -> None:
    values = values_of(make_config("quick-look", category="c")) | variant_values(variant)
    config = config_from("d", "c", "quick-look", *values.values())
    for name, value in VARIANTS[variant].items():
        assert getattr(config.base, name) == value


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("image_size", 8, "image_size"),
        ("epochs", 0, "epochs"),
        ("batch_size", -1, "batch_size"),
        ("stages", "3,1", "ascending"),
        ("stages", "one", "stages"),
        ("device", "tpu", "device"),
        ("held_out", 0.9, "held_out"),
        ("base.interval", 0, "interval"),
        ("base.base_update", "magic", "base_update"),
        ("augment", ["shear"], "augment"),
    ],
)
def test_a_wrong_field_is_named_in_a_sentence(field: str, value: Any, word: str) -> None:
    values = values_of(make_config("quick-look", category="c")) | {field: value}
    with pytest.raises(ConfigError, match=word):
        config_from("d", "c", "quick-look", *values.values())


def test_an_empty_field_means_the_presets_value() -> None:
    empty = values_of(make_config("fastflow-resnet18", category="c")) | {"epochs": None, "backbone": " "}
    config = config_from("d", "c", "fastflow-resnet18", *empty.values())
    assert (config.epochs, config.backbone) == (500, "resnet18.tv_in1k")


def test_what_is_automatic_is_so_whatever_the_preset_says() -> None:
    automatic = [entry for entry in form_settings() if entry.optional]
    assert {entry.name for entry in automatic} == {"stages", "lr", "base.lr"}
    for entry in automatic:  # so that 0 can stand for it
        assert entry.kind == "wholes" or entry.bounds["gt"] >= 0
    values = values_of(make_config("fastflow-resnet18", category="c"))
    assert values["lr"] == 1e-3 and values["stages"] == "1,2,3"
    values |= {"lr": AUTO_NUMBER, "base.lr": AUTO_NUMBER, "stages": ""}
    config = config_from("d", "c", "fastflow-resnet18", *values.values())
    assert (config.lr, config.base.lr, config.stages) == (None, None, None)


def test_too_few_fields_are_refused() -> None:
    with pytest.raises(ConfigError, match="reload"):
        config_from("d", "c", "quick-look", 1)


CHANGED = ("flow.hidden_ratio", "flow.clamp")  # what the page fills in besides, once another flow is chosen


def test_another_flow_brings_its_own_values() -> None:
    changed = changed_by_kind("cflow", "quick-look")
    assert (changed["flow.hidden_ratio"], changed["flow.clamp"]) == (2.0, 1.9)
    assert "batch_size" not in changed and "backbone" not in changed
    assert changed_by_kind("fastflow", "quick-look")["flow.clamp"] == 2.0


def test_fields_of_the_other_flow_are_left_out() -> None:
    """What was typed for FastFlow must not stop a CFLOW training, nor the other way round."""
    values = values_of(make_config("quick-look", category="x"))
    values.update({"flow.kind": "fastflow", "flow.loss": "logsigmoid", "flow.permutation": "soft"})
    assert config_from("d", "c", "quick-look", *values.values()).flow.loss == "nll"
    values.update({"flow.kind": "cflow", "flow.fibres": 512})
    values.update({name: value for name, value in changed_by_kind("cflow", "quick-look").items() if name in CHANGED})
    flow = config_from("d", "c", "quick-look", *values.values()).flow
    assert (flow.kind, flow.loss, flow.permutation, flow.fibres) == ("cflow", "logsigmoid", "soft", 512)
    assert (flow.hidden_ratio, flow.clamp) == (2.0, 1.9), "the architecture is CFLOW's, not the preset's"


def test_the_picture_of_the_alternation() -> None:
    strict = make_config(category="c", epochs=10, base={"interval": 5, "on_top": False, "joint": False})
    kinds = re.findall(r'<i class="([a-z ]+)"', schedule_strip(strict))
    assert kinds == ["flow"] * 4 + ["base"] + ["flow"] * 4 + ["base"]
    warm = make_config(category="c", epochs=6, base={"interval": 5, "on_top": False, "warmup": 2})
    kinds = re.findall(r'<i class="([a-z ]+)"', schedule_strip(warm))
    assert kinds == ["flow", "flow", "flow joint", "flow joint", "base", "flow joint"]
    assert "N(0, I)" in schedule_strip(make_config(category="c", base={"base_update": "off"}))
    assert "no base epoch" in schedule_strip(make_config(category="c", epochs=1))


@pytest.fixture
def form() -> SettingsForm:
    with gr.Blocks():
        return build_form()


def test_every_setting_has_a_field(form: SettingsForm) -> None:
    entries = {entry.name: entry for entry in all_settings()}
    assert set(form.fields) == set(entries) - {"data", "category", "flow.options"}
    start = make_config("quick-look", category="c")
    for name, field in form.fields.items():
        entry = entries[name]
        assert field.label.startswith(entry.title)
        assert value_of(config_from("d", "c", "quick-look", *values_of(start).values()), name) == value_of(start, name)
        if entry.kind in ("choice", "choices", "switch"):
            assert [(title, value) for value, title in entry.choices.items()] == [tuple(pair) for pair in field.choices]
        if not entry.is_basic:
            assert entry.help in field.info


def test_a_new_field_appears_in_the_form_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Larger(TrainingConfig):
        ripeness: int = setting(3, "Ripeness", "How ripe the fruit is.", group="data", ge=0, le=5)

    for module in (form_values, fields):
        monkeypatch.setattr(module, "all_settings", lambda: tuple(settings_of(Larger)))
    monkeypatch.setattr("altub.training.config.TrainingConfig", Larger)
    with gr.Blocks():
        form = build_form()
    assert form.fields["ripeness"].label == "Ripeness" and form.fields["ripeness"].value == 3
    assert form.fields["ripeness"].info == "How ripe the fruit is. 0 to 5."
    values = values_of(Larger(category="c")) | {"ripeness": 4}
    assert config_from("d", "c", "quick-look", *values.values()).ripeness == 4
