"""Axes of a study: settings with several values each, crossed with one another."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from altub.errors import ConfigError
from altub.fields import AUTO
from altub.training.fields import all_settings, find_setting

__all__ = ["AUTOMATIC", "combinations", "is_read_by", "parse_axes"]

Axes = dict[str, list[Any]]

#: Settings that take another value by themselves where another setting changes.
AUTOMATIC = tuple(entry.name for entry in all_settings() if entry.automatic)


def parse_axes(
    pairs: Sequence[str], *, option: str = "--vary", reserved: Sequence[str] = (), only: Sequence[str] = ()
) -> Axes:
    """["flow.norm=position,whiten"] -> {"flow.norm": ["position", "whiten"]}, in the order of all settings.

    Args:
        pairs: NAME=VALUE,VALUE each; the parts of a value that is a list itself are joined by a plus, as in
            stages=1+2,1+2+3.
        option: what the user typed, for messages.
        reserved: settings that the command takes otherwise.
        only: the settings that may be named; empty means all.

    Raises:
        ConfigError: not NAME=VALUE,VALUE, or a setting that is unknown or not allowed.
    """
    axes: Axes = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        name = name.strip()
        words = [word.strip() for word in text.split(",") if word.strip()]
        if not sign or not name or not words:
            raise ConfigError(f"{option} takes NAME=VALUE,VALUE (given: {pair!r}).")
        entry = find_setting(name)
        if name in reserved or entry.kind == "json":
            raise ConfigError(
                f"{option} cannot take {name}: the study has an option for it, or it is no list of values."
            )
        if only and name not in only:
            raise ConfigError(f"{option} takes {', '.join(only)}, not {name}.")
        if entry.kind in ("choices", "wholes"):
            words = [word.replace("+", ",") for word in words]
        values = [AUTO if (value := entry.parse(word)) is None else value for word in words]
        axes[name] = [value for k, value in enumerate(values) if value not in values[:k]]
    order = [entry.name for entry in all_settings()]
    return dict(sorted(axes.items(), key=lambda item: order.index(item[0])))


def combinations(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every choice of one value an axis; without axes a single empty one.

    Example:
        >>> combinations({"epochs": [5, 10], "flow.norm": ["whiten"]})
        [{'epochs': 5, 'flow.norm': 'whiten'}, {'epochs': 10, 'flow.norm': 'whiten'}]
    """
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def is_read_by(name: str, flow: str) -> bool:
    """Does a setting mean anything for this kind of flow?"""
    flows = find_setting(name).flows
    return not flows or flow in flows
