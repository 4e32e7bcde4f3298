"""Every setting of a training by its dotted name: listed, looked up, read from `key=value`, and printed as a table.

The command line, the page's form, the study and the documentation are made from this list.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from altub.errors import ConfigError
from altub.fields import AUTO, GROUPS, Setting, settings_of
from altub.training.config import TrainingConfig

__all__ = [
    "all_settings",
    "as_rows",
    "find_setting",
    "markdown_table",
    "nested",
    "parse_pairs",
    "settings_by_group",
    "value_of",
]


@cache
def all_settings() -> tuple[Setting, ...]:
    """All settings, in the order of the configuration."""
    return tuple(settings_of(TrainingConfig))


def settings_by_group() -> dict[str, list[Setting]]:
    """Group -> its settings, in the order of `GROUPS`; groups without settings are left out."""
    found = {group: [entry for entry in all_settings() if entry.group == group] for group in GROUPS}
    return {group: entries for group, entries in found.items() if entries}


def find_setting(name: str) -> Setting:
    """The setting of a dotted name such as "base.interval".

    Raises:
        ConfigError: there is none; the sentence names the nearest ones.
    """
    known = {entry.name: entry for entry in all_settings()}
    if name in known:
        return known[name]
    inside = [entry for entry in known if entry.startswith(f"{name}.")]
    if inside:
        raise ConfigError(f"Name one setting of {name}: {', '.join(inside)}.")
    raise ConfigError(f"There is no setting {name!r}.{_suggestion(name, list(known))}")


def parse_pairs(pairs: Iterable[str], reserved: Mapping[str, str] | None = None) -> dict[str, Any]:
    """["epochs=10", "flow.norm=layer"] -> {"epochs": 10, "flow": {"norm": "layer"}}, as `make_config` takes it.

    Args:
        pairs: key=value each; of a key that comes twice the last one counts.
        reserved: settings that the command takes otherwise, and how.

    Raises:
        ConfigError: not key=value, an unknown setting, or a reserved one.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        name = name.strip()
        if not sign or not name:
            raise ConfigError(f"--set takes key=value, such as epochs=10 (given: {pair!r}).")
        if reserved and name in reserved:
            raise ConfigError(f"{name} cannot be set by --set: {reserved[name]}.")
        value = find_setting(name).parse(text)
        values[name] = AUTO if value is None else value  # None would mean "not given"
    return nested(values)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"base.interval": 2} -> {"base": {"interval": 2}}."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        outer, dot, inner = name.partition(".")
        if dot:
            result.setdefault(outer, {})[inner] = value
        else:
            result[name] = value
    return result


def value_of(config: TrainingConfig, name: str) -> Any:
    """A setting's value by its dotted name."""
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def as_rows() -> list[dict[str, Any]]:
    """One dictionary a setting, for programs."""
    return [
        {
            "name": entry.name,
            "title": entry.title,
            "help": entry.help,
            "kind": entry.kind,
            "default": entry.default_text,
            "values": entry.range_text,
            "unit": entry.unit,
            "group": entry.group,
            "level": entry.level,
            "flows": list(entry.flows),
        }
        for entry in all_settings()
    ]


def markdown_table() -> str:
    """A table a group, for the documentation."""
    parts = []
    for group, entries in settings_by_group().items():
        rows = ["| setting | default | values | meaning |", "|---|---|---|---|"]
        for entry in entries:
            values = " ".join(filter(None, (entry.range_text, entry.unit)))
            cells = (f"`{entry.name}`", f"`{entry.default_text}`" if entry.default_text else "", values, about(entry))
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append(f"### {GROUPS[group]}\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def about(entry: Setting) -> str:
    """Help, what "auto" stands for, and which flow reads it."""
    parts = [entry.help]
    if entry.automatic:
        parts.append(f"{AUTO}: {entry.automatic}.")
    if entry.flows:
        parts.append(f"Only for {' and '.join(entry.flows)}.")
    return " ".join(parts)


def _suggestion(name: str, known: Sequence[str]) -> str:
    """ " Did you mean base.interval?", by the whole name and by its last part; without a near one, where to look."""
    last = name.rpartition(".")[2]
    exact = [entry for entry in known if entry.rpartition(".")[2] == last]
    near = exact or list(
        dict.fromkeys(
            difflib.get_close_matches(name, known, n=3, cutoff=0.6)
            + [entry for entry in known if difflib.SequenceMatcher(None, last, entry.rpartition(".")[2]).ratio() > 0.75]
        )
    )
    if not near:
        return " `altub settings` lists them all."
    return f" Did you mean {' or '.join(near[:3])}?"
