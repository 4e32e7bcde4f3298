"""Handlers of the form: values of fields in, values of fields out, in the order of `form_settings`."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from altub.backbones import BACKBONE_PRESETS
from altub.errors import ConfigError
from altub.training.config import PRESETS, make_config
from altub.training.schedule import VARIANTS
from altub.ui.errors import show_errors
from altub.ui.train.form_values import (
    REGIONS,
    changed_by_kind,
    config_from,
    form_settings,
    is_read,
    values_of,
    variant_values,
)
from altub.ui.train.form_views import schedule_strip

__all__ = [
    "AS_PRESET",
    "CUSTOM",
    "base_names",
    "choose_backbone",
    "choose_kind",
    "choose_preset",
    "choose_variant",
    "describe_preset",
    "draw_schedule",
    "show_fields",
    "variant_of",
]

AS_PRESET, CUSTOM = "preset", "custom"  # variants of the alternation that are none of the published ones


def base_names() -> list[str]:
    """Dotted names of the base's settings."""
    return [entry.name for entry in form_settings() if entry.group == "base"]


def describe_preset(preset: str) -> str:
    """What a preset is, in a sentence."""
    return escape(PRESETS[preset].about)


@show_errors("Preset not available")
def choose_preset(preset: str) -> list[Any]:
    """Its description, the variant, the schedule, and every field."""
    config = make_config(preset, category="any")
    values = values_of(config) | {REGIONS: gr.skip()}  # they belong to the images
    return [describe_preset(preset), AS_PRESET, schedule_strip(config), *values.values()]


@show_errors("Flow not available")
def choose_kind(kind: str, preset: str) -> list[Any]:
    """Every field; those that a flow of this kind has other values for change."""
    changed = changed_by_kind(kind, preset)
    return [changed.get(entry.name, gr.skip()) for entry in form_settings()]


def show_fields(kind: str) -> list[Any]:
    """The flow's fields: those that this kind reads are visible."""
    return [gr.update(visible=is_read(entry, kind)) for entry in form_settings() if entry.group == "flow"]


@show_errors("Variant not available")
def choose_variant(variant: str, preset: str) -> list[Any]:
    """The base's fields."""
    if variant in VARIANTS:
        chosen = variant_values(variant)
    elif variant == AS_PRESET:
        chosen = values_of(make_config(preset, category="any"))
    else:
        chosen = {}
    return [chosen.get(name, gr.skip()) for name in base_names()]


def variant_of(values: dict[str, Any], preset: str) -> str:
    """What the list of variants shows for these values of fields: the preset's, a published one, or custom."""
    now = {name: values[name] for name in base_names()}
    usual = values_of(make_config(preset, category="any"))
    if all(now[name] == usual[name] for name in now):
        return AS_PRESET
    for variant in VARIANTS:
        if all(now[name] == value for name, value in variant_values(variant).items()):
            return variant
    return CUSTOM


def draw_schedule(*values: Any) -> str:
    """The alternation as the preset and the fields have it."""
    try:
        return schedule_strip(config_from("sample", "any", *values))
    except ConfigError as error:
        return f'<p class="warning">{escape(str(error))}</p>'


def choose_backbone(backbone: str) -> Any:
    """The image size, where the backbone takes only one."""
    preset = BACKBONE_PRESETS.get(backbone)
    return preset.image_size if preset and preset.fixed_image_size else gr.skip()
