"""The command `settings`: everything that `train --set` and `study --set` take."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from altub.cli.options import Json
from altub.errors import ConfigError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(settings)


def settings(
    group: Annotated[str | None, typer.Argument(help="Only this group, such as base.", show_default=False)] = None,
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables for the documentation.")] = False,
) -> None:
    """All settings of a training, by group; `train --set NAME=VALUE` sets one."""
    from altub.fields import GROUPS
    from altub.training.fields import about, as_rows, markdown_table, settings_by_group

    groups = settings_by_group()
    if group is not None and group not in groups:
        raise ConfigError(f"There is no group {group!r}: choose {', '.join(groups)}.")
    if markdown:
        print(markdown_table())
        return
    if as_json:
        print(json.dumps([row for row in as_rows() if group in (None, row["group"])]))
        return
    for name, entries in groups.items():
        if group not in (None, name):
            continue
        print(f"{GROUPS[name]} ({name})")
        for entry in entries:
            default = f"[{entry.default_text}]" if entry.default_text else ""
            values = " ".join(filter(None, (entry.range_text, entry.unit)))
            print(f"  {entry.name:<20} {default:<14} {about(entry)}{f' ({values})' if values else ''}")
        print()
