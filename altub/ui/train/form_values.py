"""What the fields of the form show for a configuration, and the configuration that they ask for.

No setting is named here: fields, defaults and choices come from the configuration's own list.
"""

from __future__ import annotations

from typing import Any

from altub.errors import ConfigError
from altub.fields import AUTO, Setting
from altub.flows.registry import find_flow
from altub.training.config import TrainingConfig, make_config
from altub.training.fields import all_settings, nested, value_of
from altub.training.schedule import VARIANTS

__all__ = [
    "AUTO_NUMBER",
    "KIND",
    "REGIONS",
    "changed_by_kind",
    "config_from",
    "form_settings",
    "is_read",
    "shown",
    "values_of",
    "variant_values",
]

AUTO_NUMBER = 0.0  # shown in a number field for "auto"
KIND = "flow.kind"
ELSEWHERE = ("data", "category")  # chosen in the panel of the images
REGIONS = "regions"  # drawn there too; its field holds them as JSON


def form_settings() -> list[Setting]:
    """The settings of the form, in the order of `config_from`'s values; others given as JSON are left to programs."""
    shown_kinds = [entry for entry in all_settings() if entry.kind != "json" or entry.name == REGIONS]
    return [entry for entry in shown_kinds if entry.name not in ELSEWHERE]


def is_read(entry: Setting, kind: str) -> bool:
    """Does a flow of this kind read the setting?"""
    group, _, name = entry.name.rpartition(".")
    info = find_flow(kind) if group == "flow" else None
    return info is None or info.uses(name)


def shown(entry: Setting, value: Any) -> Any:
    """A setting's value as its field shows it."""
    if entry.kind in ("whole", "number"):
        return AUTO_NUMBER if value is None else value
    if entry.kind == "choices":
        return list(value)
    if entry.kind in ("wholes", "json"):
        return entry.show(value) if value else ""
    return value


def values_of(config: TrainingConfig) -> dict[str, Any]:
    """What the fields show for a configuration, by dotted name."""
    return {entry.name: shown(entry, value_of(config, entry.name)) for entry in form_settings()}


def variant_values(variant: str) -> dict[str, Any]:
    """What the fields of the base show for a published variant, by dotted name."""
    entries = {entry.name: entry for entry in form_settings()}
    return {f"base.{name}": shown(entries[f"base.{name}"], value) for name, value in VARIANTS[variant].items()}


def changed_by_kind(kind: str, preset: str) -> dict[str, Any]:
    """Values that a flow of this kind starts from: those of the flow, and others that depend on the kind."""
    kinds = next(entry for entry in form_settings() if entry.name == KIND).choices
    tables = {name: values_of(make_config(preset, category="any", flow={"kind": name})) for name in {*kinds, kind}}
    return {
        name: value
        for name, value in tables[kind].items()
        if name.startswith("flow.") or any(table[name] != value for table in tables.values())
    }


def config_from(data: str, category: str, preset: str, *values: Any) -> TrainingConfig:
    """The configuration that the fields ask for; a field left empty means the preset's value.

    Raises:
        ConfigError: in one sentence.
    """
    entries = form_settings()
    if len(values) != len(entries):
        raise ConfigError("The page is out of date: reload it.")
    fields = dict(zip((entry.name for entry in entries), values, strict=True))
    given = {
        entry.name: value
        for entry in entries
        if is_read(entry, fields[KIND]) and (value := _setting_value(entry, fields[entry.name])) is not None
    }
    return make_config(preset, **nested({**given, "data": data, "category": category}))


def _setting_value(entry: Setting, value: Any) -> Any:
    """What a field says to `make_config`; None where it is empty."""
    if entry.kind in ("whole", "number"):
        return AUTO if entry.optional and value == AUTO_NUMBER else value
    if entry.kind == "choices":
        return tuple(value or ())
    if entry.kind == "wholes":
        parsed = entry.parse(value or "")
        return AUTO if parsed is None and entry.optional else parsed
    if entry.kind == "json":
        return entry.parse(value) if isinstance(value, str) and value.strip() else None
    return (value.strip() or None) if isinstance(value, str) else value
