"""The fields of a training's settings: filled from a preset, read back as a validated configuration.

No default is written here: every value comes from `PRESETS` and `TrainingConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, get_args

import gradio as gr
from pydantic import BaseModel

from altub.backbones.backbone import BACKBONE_PRESETS, FILTER_BANK, resolve_auto, weights_available
from altub.errors import ConfigError
from altub.flows.config import FlowConfig
from altub.flows.registry import flow_names, get_flow
from altub.training.config import PRESETS, TrainingConfig, make_config
from altub.training.fields import find_setting
from altub.training.schedule import VARIANT_TITLES, VARIANTS, BaseSchedule

__all__ = ["SettingsForm", "build_form", "config_from", "describe_backbone", "schedule_strip", "values_of"]

FIRST_PRESET = next(iter(PRESETS))
PRESETS_OWN, CUSTOM = "preset", "custom"
READING_CHOICES = [
    ("As in the preset", PRESETS_OWN),
    *((title, name) for name, title in VARIANT_TITLES.items()),
    ("My own, see the fields below", CUSTOM),
]
AUTO_LR = 0.0  # shown where a learning rate is not a number: the usual one, or a multiple of the flow's
TOP = ("backbone", "image_size", "epochs", "batch_size")
BASE = ("base_update", "interval", "interval_unit", "on_top", "warmup", "joint", "optimizer", "lr", "clip")
ADVANCED = (
    "stages",
    "lr",
    "lr_schedule",
    "seed",
    "precision",
    "device",
    "map_kind",
    "smoothing",
    "score_share",
    "held_out",
    "evaluate_every",
    "augment",
)
FLOW = ("kind", "norm", "kernels", "permutation", "loss", "fibres")
FIELDS = (*TOP, *(f"base.{name}" for name in BASE), *(f"flow.{name}" for name in FLOW), *ADVANCED)
FOLLOW_KIND = ("epochs", "base.interval", *(f"flow.{name}" for name in FLOW[1:]))  # fields that a flow has values for
# What the values of a setting are called where the value itself does not say enough.
NAMES = {
    "layer": "layer norm",
    "layer-affine": "layer norm with trained scale (as published)",
    "channel": "per channel",
    "hard": "exchange channels",
    "soft": "rotate (as published, twice the size)",
    "logsigmoid": "log-sigmoid (as published)",
    "likelihood": "likelihood, as published",
    "nll": "negative log-likelihood",
    "adam": "Adam",
    "sgd": "SGD",
}
STRIP_LENGTH = 40  # epochs or steps in the picture of the alternation


@dataclass(frozen=True)
class SettingsForm:
    """The components; `fields` in the order of `FIELDS`."""

    preset: gr.Dropdown
    preset_about: gr.HTML
    backbone_about: gr.HTML
    reading: gr.Dropdown
    strip: gr.HTML
    fields: Mapping[str, gr.components.Component]

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What `config_from` takes, after data and category."""
        return [self.preset, *self.fields.values()]


def build_form() -> SettingsForm:
    """Lays the fields out and connects those that depend on each other."""
    start = values_of(make_config(FIRST_PRESET, category="any"))
    fields: dict[str, gr.components.Component] = {}

    def number(name: str, label: str, info: str | None = None, whole: bool = True, step: float = 1) -> None:
        # No limits here: Gradio's own message would not say which field it means, `make_config`'s does.
        fields[name] = gr.Number(
            start[name],
            label=label,
            info=info,
            precision=0 if whole else None,
            step=step,
            elem_id=_id(name),
            min_width=110,
            visible=of_a_flow(name),
        )

    def of_a_flow(name: str) -> bool:
        return _matters(name, start["flow.kind"])

    def choice(name: str, label: str, choices: Sequence, info: str | None = None, **more: Any) -> None:
        fields[name] = gr.Dropdown(
            choices,
            value=start[name],
            label=label,
            info=info,
            elem_id=_id(name),
            min_width=130,
            visible=of_a_flow(name),
            **more,
        )

    preset = gr.Dropdown(
        [(preset.title, name) for name, preset in PRESETS.items()],
        value=FIRST_PRESET,
        label="Preset",
        filterable=False,
        elem_id="train-preset",
    )
    preset_about = gr.HTML(_about(FIRST_PRESET), elem_classes="hint")
    choice("backbone", "Backbone", backbone_choices(), allow_custom_value=True)
    backbone_about = gr.HTML(elem_classes="hint", elem_id="backbone-about")
    choice("flow.kind", "Flow", [(get_flow(name).label, name) for name in flow_names()], filterable=False)
    with gr.Row(elem_classes="numbers"):
        number("image_size", "Image size")
        number("epochs", "Epochs")
        number("batch_size", "Batch size")
    with gr.Accordion("AltUB schedule", open=False, elem_id="train-schedule"):
        gr.HTML(
            "A plain flow maps good images to a fixed N(0, I). AltUB also learns where they really end, N(μ, Σ), and "
            "trains the two in turns.",
            elem_classes="hint",
        )
        fields["base.base_update"] = gr.Radio(
            [("Gradient", "gradient"), ("Moments", "moments"), ("Off", "off")],
            value=start["base.base_update"],
            label="How the base learns",
            info="Gradient: its own optimiser steps. Moments: the exact best μ and σ from one pass over the data. "
            "Off: the plain flow.",
            elem_id=_id("base.base_update"),
        )
        reading = gr.Dropdown(
            READING_CHOICES,
            value=PRESETS_OWN,
            label="Reading of the alternation",
            info="The paper leaves the details open; these are the readings in use.",
            filterable=False,
            elem_id="train-reading",
        )
        with gr.Row(elem_classes="numbers"):
            number("base.interval", "Every")
            choice("base.interval_unit", "Unit", [("epochs", "epoch"), ("steps", "step")], filterable=False)
            number("base.warmup", "Warm-up")
        choice(
            "base.on_top",
            "The base's turn",
            [("takes the place of the flow's", False), ("follows the flow's, on top", True)],
            filterable=False,
        )
        choice(
            "base.joint",
            "In the flow's turns",
            [("the base learns along (joint)", True), ("the base waits (strict)", False)],
            filterable=False,
        )
        with gr.Row(elem_classes="numbers"):
            choice("base.optimizer", "Base optimiser", named("optimizer", BaseSchedule), filterable=False)
            number("base.lr", "Base rate", whole=False, step=0.01)
            choice("base.clip", "Clip at 100", named("clip", BaseSchedule), filterable=False)
        gr.HTML("Base rate 0 means five times the flow's current learning rate.", elem_classes="hint")
        strip = gr.HTML(schedule_strip(make_config(FIRST_PRESET, category="any")), elem_id="schedule-strip")
    with gr.Accordion("Advanced", open=False, elem_id="train-advanced"):
        with gr.Row(elem_classes="numbers"):
            number("lr", "Flow learning rate", "0 takes the flow's usual one.", whole=False, step=0.0001)
            choice("lr_schedule", "Its course", named("lr_schedule"), filterable=False)
        with gr.Row(elem_classes="numbers"):
            number("seed", "Seed")
            choice("device", "Device", ["auto", "cpu", "cuda"], allow_custom_value=True)
            choice("precision", "Precision", named("precision"), filterable=False)
        fields["stages"] = gr.Textbox(
            start["stages"], label="Backbone stages", info="Such as 1,2,3; empty takes the usual ones."
        )
        choice("flow.norm", "Norm before the flow", named("norm", FlowConfig), filterable=False)
        choice("flow.kernels", "Kernels", named("kernels", FlowConfig), filterable=False)
        choice("flow.permutation", "Between the steps", named("permutation", FlowConfig), filterable=False)
        choice("flow.loss", "Loss", named("loss", FlowConfig), filterable=False)
        number("flow.fibres", "Positions a step")
        choice("map_kind", "Anomaly map", named("map_kind"), filterable=False)
        with gr.Row(elem_classes="numbers"):
            number("smoothing", "Smoothing", "Pixels; 0 is off.", whole=False, step=0.5)
            number("score_share", "Score's share", "Of the highest pixels; 0 is the maximum.", whole=False, step=0.01)
            number("held_out", "Held out", "Share of good images.", whole=False, step=0.05)
            number("evaluate_every", "Test every", "Epochs.")
        fields["augment"] = gr.CheckboxGroup(
            [("mirror", "hflip"), ("upside down", "vflip"), ("quarter turns", "rot90")],
            value=start["augment"],
            label="Augment good images",
            info="Only what your part may really look like; features are then computed anew in every epoch.",
        )
    fields = {name: fields[name] for name in FIELDS}
    form = SettingsForm(preset, preset_about, backbone_about, reading, strip, fields)
    _connect(form)
    return form


def values_of(config: TrainingConfig) -> dict[str, Any]:
    """What the fields show for a configuration."""
    values = {name: getattr(config, name) for name in (*TOP, *ADVANCED)}
    values["stages"] = ",".join(map(str, config.stages)) if config.stages else ""
    values["augment"] = list(config.augment)
    values.update({f"base.{name}": getattr(config.base, name) for name in BASE})
    values["base.lr"] = AUTO_LR if config.base.lr is None else config.base.lr
    values.update({f"flow.{name}": getattr(config.flow, name) for name in FLOW})
    values["lr"] = AUTO_LR if config.lr is None else config.lr  # an empty number field shows 0 anyway
    return {name: values[name] for name in FIELDS}


def config_from(data: str, category: str, preset: str, *values: Any) -> TrainingConfig:
    """The configuration that the fields ask for; a field left empty means the preset's value.

    Raises:
        ConfigError: in one sentence.
    """
    if len(values) != len(FIELDS):
        raise ConfigError("The page is out of date: reload it.")
    given = dict(zip(FIELDS, values, strict=True))
    base = {name: given[f"base.{name}"] for name in BASE}
    if base["lr"] is None:  # an empty field; to `make_config` None is a rate
        del base["lr"]
    elif base["lr"] == AUTO_LR:
        base["lr"] = None
    settings = {name: given[name] for name in (*TOP, *ADVANCED)}
    settings["lr"] = None if given["lr"] == AUTO_LR else given["lr"]
    settings["stages"] = find_setting("stages").parse(given["stages"] or "")
    settings["augment"] = tuple(given["augment"] or ())
    settings["backbone"] = (given["backbone"] or "").strip() or None
    flow = {name: given[f"flow.{name}"] for name in FLOW if _matters(f"flow.{name}", given["flow.kind"])}
    return make_config(preset, data=data, category=category, **settings, base=base, flow=flow)


def named(setting: str, model: type[BaseModel] = TrainingConfig) -> list[tuple[str, str]]:
    """(label, value) of everything that a setting can be, as its type says."""
    return [(NAMES.get(value, value), value) for value in get_args(model.model_fields[setting].annotation)]


def backbone_choices() -> list[tuple[str, str]]:
    """(label, name) of the backbones offered by name."""
    return [("Automatic: the best to be had here", "auto")] + [
        (preset.title, name) for name, preset in BACKBONE_PRESETS.items()
    ]


def describe_backbone(name: str | None) -> str:
    """What a backbone is and whether its weights can be had; may ask the Hub once, for seconds."""
    name = (name or "").strip() or "auto"
    if name == "auto":
        chosen, why = resolve_auto()
        return f"Here this is <b>{escape(_title(chosen))}</b>. {escape(why)}"
    preset = BACKBONE_PRESETS.get(name)
    about = f"{escape(preset.description)} " if preset else ""
    if name == FILTER_BANK:
        return about
    try:
        source = weights_available(name)
    except ConfigError as error:
        return f'<span class="warning">{escape(str(error))}</span>'
    where = {
        "file": "Its weights lie in the folder of ALTUB_WEIGHTS.",
        "cache": "Its weights are in the Hugging Face cache.",
        "hub": "Its weights will be fetched from the Hugging Face Hub.",
    }.get(source)
    if where:
        return about + where
    return (
        f'{about}<span class="warning">Its weights are not to be had here: put {escape(name)}.safetensors into the '
        "folder of ALTUB_WEIGHTS, or connect to the Hugging Face Hub.</span>"
    )


def schedule_strip(config: TrainingConfig) -> str:
    """The first epochs (or steps) of the alternation as coloured squares, and a sentence."""
    base = config.base
    if base.base_update == "off":
        return '<p class="muted small">The base stays at N(0, I).</p>'
    by_step = base.interval_unit == "step"
    length = STRIP_LENGTH if by_step else min(config.epochs, STRIP_LENGTH)
    cells = []
    for index in range(1, length + 1):
        if by_step:
            turns, along = base.step_turns(index), base.base_joins_flow(1, index)
        else:
            turns, along = base.epoch_turns(index), base.base_joins_flow(index, 1)
        kind = " then ".join("base" if turn == "base" else "flow joint" if along else "flow" for turn in turns)
        cells.append(f'<i class="{kind}" title="{base.interval_unit} {index}: {kind}"></i>')
    two = "; two colours side by side are two turns, one after the other" if base.on_top else ""
    more = " …" if by_step or config.epochs > length else ""
    words = "Each square is one step" if by_step else "Each square is one epoch"
    notes = "".join(f'<p class="warning">{escape(note)}</p>' for note in config.notes)
    return (
        f'<div class="strip" aria-label="schedule">{"".join(cells)}{more}</div><p class="muted small">{words}: '
        '<span class="phase flow">the flow learns</span>, <span class="phase joint">both learn</span>, '
        f'<span class="phase base">the base learns</span>{two}.</p>{notes}'
    )


def _connect(form: SettingsForm) -> None:
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    base_fields = [form.fields[f"base.{name}"] for name in BASE]

    def take_preset(name: str) -> list[Any]:
        config = _preset_config(name)
        return [_about(name), PRESETS_OWN, schedule_strip(config), *values_of(config).values()]

    form.preset.input(
        take_preset, form.preset, [form.preset_about, form.reading, form.strip, *form.fields.values()], **quiet
    )

    kind = form.fields["flow.kind"]
    of_flow = [f"flow.{name}" for name in FLOW[1:]]

    def take_kind(kind: str, preset: str) -> list[Any]:
        """The values that such a flow starts from; the rest of the form stays."""
        shown = values_of(_kind_config(kind, preset))
        return [shown[name] for name in FOLLOW_KIND]

    kind.input(take_kind, [kind, form.preset], [form.fields[name] for name in FOLLOW_KIND], **quiet)
    own = [form.fields[name] for name in of_flow]
    kind.change(lambda kind: [gr.update(visible=_matters(name, kind)) for name in of_flow], kind, own, **quiet)

    def take_reading(reading: str, preset: str) -> list[Any]:
        if reading in VARIANTS:
            chosen = {**VARIANTS[reading], "lr": VARIANTS[reading]["lr"] or AUTO_LR}
        elif reading == PRESETS_OWN:
            shown = values_of(_preset_config(preset))
            chosen = {name: shown[f"base.{name}"] for name in BASE}
        else:
            return [gr.skip()] * len(BASE)
        return [chosen[name] for name in BASE]

    form.reading.input(take_reading, [form.reading, form.preset], base_fields, **quiet)
    for name in BASE[1:]:
        form.fields[f"base.{name}"].input(lambda: CUSTOM, None, form.reading, **quiet)

    def draw(*values: Any) -> str:
        try:
            return schedule_strip(config_from("sample", "any", *values))
        except ConfigError as error:
            return f'<p class="warning">{escape(str(error))}</p>'

    gr.on([field.change for field in (*base_fields, form.fields["epochs"])], draw, form.inputs, form.strip, **quiet)

    def take_backbone(name: str) -> Any:
        preset = BACKBONE_PRESETS.get(name)
        return preset.image_size if preset and preset.fixed_image_size else gr.skip()

    backbone = form.fields["backbone"]
    backbone.input(take_backbone, backbone, form.fields["image_size"], **quiet)
    backbone.change(describe_backbone, backbone, form.backbone_about, **quiet)


def _preset_config(name: str) -> TrainingConfig:
    try:
        return make_config(name, category="any")
    except ConfigError as error:
        raise gr.Error(str(error)) from error


def _kind_config(kind: str, preset: str) -> TrainingConfig:
    try:
        return make_config(preset, category="any", flow={"kind": kind})
    except ConfigError as error:
        raise gr.Error(str(error)) from error


def _matters(name: str, kind: str) -> bool:
    """Does a field matter with this kind of flow?"""
    group, _, setting = name.rpartition(".")
    return group != "flow" or get_flow(kind).uses(setting)


def _about(preset: str) -> str:
    return escape(PRESETS[preset].about)


def _title(backbone: str) -> str:
    preset = BACKBONE_PRESETS.get(backbone)
    return preset.title if preset else backbone


def _id(name: str) -> str:
    return "train-" + name.replace(".", "-").replace("_", "-")
