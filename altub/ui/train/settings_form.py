"""The fields of a training's settings: made from the list of settings, filled from a preset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from altub.fields import GROUPS, Setting
from altub.training.config import PRESETS, make_config
from altub.training.schedule import VARIANT_TITLES
from altub.ui.train import form_handlers as handlers
from altub.ui.train.form_values import AUTO_NUMBER, KIND, REGIONS, form_settings, is_read, values_of
from altub.ui.train.form_views import describe_backbone, schedule_strip
from altub.ui.train.regions_panel import REGIONS_INFO

__all__ = ["SettingsForm", "build_form"]

FIRST_PRESET = next(iter(PRESETS))
VARIANT_CHOICES = [
    ("As in the preset", handlers.AS_PRESET),
    *((title, name) for name, title in VARIANT_TITLES.items()),
    ("Custom", handlers.CUSTOM),
]
BASE = "base"  # the group with a section of its own
UPDATE = "base.base_update"
RADIO = (UPDATE,)  # the main choice of the section: all values at a glance
NUMBERS = ("whole", "number")  # kinds that are entered as a number
BASIC = ("image_size", "epochs")  # always in sight, beside the preset
GRID = "settings-grid"  # two columns; a hidden field leaves no gap
GROUP_ABOUT = {
    BASE: "A plain flow maps good images to a fixed base N(0, I). AltUB also learns the base, N(μ, Σ), in alternation "
    "with the flow."
}
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class SettingsForm:
    """The components; `fields` by dotted name, in the order of `form_settings`, and the help below each."""

    preset: gr.Dropdown
    preset_about: gr.HTML
    backbone_about: gr.HTML
    variant: gr.Dropdown
    strip: gr.HTML
    fields: Mapping[str, gr.components.Component]
    infos: Mapping[str, str | None]

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What `config_from` takes, after data and category."""
        return [self.preset, *self.fields.values()]


def build_form(regions: gr.components.Component | None = None) -> SettingsForm:
    """Lays the fields out and connects those that depend on each other.

    Args:
        regions: the field of that setting, placed where they are drawn; None: it is one among the others.

    Above: the preset, the basic settings and the schedule at a glance. Everything else is in Advanced, group by group.
    """
    config = make_config(FIRST_PRESET, category="any")
    start = values_of(config)
    fields: dict[str, gr.components.Component] = {}
    infos: dict[str, str | None] = {}
    entries = form_settings()
    if regions is not None:
        fields[REGIONS], infos[REGIONS] = regions, REGIONS_INFO

    def add(chosen: Iterable[Setting], *, with_info: bool = True) -> None:
        for entry in chosen:
            if entry.name in fields:
                continue
            infos[entry.name] = _info(entry) if with_info and entry.help else None
            visible = is_read(entry, start[KIND])
            fields[entry.name] = _field(entry, start[entry.name], infos[entry.name], visible)

    preset = gr.Dropdown(
        [(preset.title, name) for name, preset in PRESETS.items()],
        value=FIRST_PRESET,
        label="Preset",
        filterable=False,
        elem_id="train-preset",
    )
    preset_about = gr.HTML(handlers.describe_preset(FIRST_PRESET), elem_classes="hint")
    with gr.Column(elem_classes=GRID):
        add((entry for entry in entries if entry.name in BASIC), with_info=False)
    strip = gr.HTML(schedule_strip(config), elem_id="schedule-strip")
    with gr.Accordion("Advanced", open=False, elem_id="train-advanced"):
        for group, title in GROUPS.items():
            chosen = [entry for entry in entries if entry.group == group and entry.name not in BASIC]
            if not chosen:
                continue
            about = f"<p>{escape(GROUP_ABOUT[group])}</p>" if group in GROUP_ABOUT else ""
            gr.HTML(f"<h4>{escape(title)}</h4>{about}", elem_classes="group hint")
            with gr.Column(elem_classes=GRID):
                if group == BASE:
                    add(entry for entry in chosen if entry.name == UPDATE)
                    variant = gr.Dropdown(
                        VARIANT_CHOICES,
                        value=handlers.AS_PRESET,
                        label="Alternation variant",
                        info="The paper leaves the details open; these are published variants.",
                        filterable=False,
                        elem_id="train-reading",
                    )
                add(entry for entry in chosen if entry.name != UPDATE)
            if group == "backbone":
                backbone_about = gr.HTML(elem_classes="hint", elem_id="backbone-about")
    form = SettingsForm(
        preset,
        preset_about,
        backbone_about,
        variant,
        strip,
        {entry.name: fields[entry.name] for entry in entries},
        infos,
    )
    _connect(form)
    return form


def _field(entry: Setting, value: Any, info: str | None, visible: bool) -> gr.components.Component:
    """The component for a setting, by its kind."""
    common: dict[str, Any] = {
        "label": f"{entry.title} ({entry.unit})" if entry.unit else entry.title,
        "info": info,
        "elem_id": "train-" + entry.name.replace(".", "-").replace("_", "-"),
        "visible": visible,
    }
    choices = [(title, choice) for choice, title in entry.choices.items()]
    if entry.name in RADIO:
        return gr.Radio(choices, value=value, **common)
    if entry.kind in ("choice", "switch"):
        return gr.Dropdown(
            choices, value=value, filterable=entry.is_open, allow_custom_value=entry.is_open, min_width=130, **common
        )
    if entry.kind == "choices":
        return gr.CheckboxGroup(choices, value=value, **common)
    if entry.kind in NUMBERS:
        # No limits: Gradio's own message would not say which field it means, `make_config`'s does.
        precision = 0 if entry.kind == "whole" else None
        return gr.Number(value, precision=precision, step=entry.step or 1, min_width=110, **common)
    return gr.Textbox(value, max_lines=1, **common)


def _info(entry: Setting) -> str:
    """Help, a range with two ends, and what the empty value means."""
    parts = [entry.help]
    if entry.kind in NUMBERS and "ge" in entry.bounds and "le" in entry.bounds:
        parts.append(f"{entry.range_text[0].upper()}{entry.range_text[1:]}.")
    if entry.optional:
        parts.append(f"{f'{AUTO_NUMBER:g}' if entry.kind in NUMBERS else 'Empty'}: {entry.automatic}.")
    return " ".join(parts)


def _connect(form: SettingsForm) -> None:
    fields, everything = form.fields, list(form.fields.values())
    form.preset.input(
        handlers.choose_preset, form.preset, [form.preset_about, form.variant, form.strip, *everything], **QUIET
    )
    kind = fields[KIND]
    kind.input(handlers.choose_kind, [kind, form.preset], everything, **QUIET)
    of_flow = [fields[entry.name] for entry in form_settings() if entry.group == "flow"]
    kind.change(handlers.show_fields, kind, of_flow, **QUIET)

    of_base = [fields[name] for name in handlers.base_names()]
    form.variant.input(handlers.choose_variant, [form.variant, form.preset], of_base, **QUIET)
    for name in handlers.base_names():
        if name != UPDATE:
            fields[name].input(lambda: handlers.CUSTOM, None, form.variant, **QUIET)
    gr.on(
        [field.change for field in (*of_base, fields["epochs"])],
        handlers.draw_schedule,
        form.inputs,
        form.strip,
        **QUIET,
    )
    backbone = fields["backbone"]
    backbone.input(handlers.choose_backbone, backbone, fields["image_size"], **QUIET)
    backbone.change(describe_backbone, backbone, form.backbone_about, **QUIET)
