"""Options and exit codes that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from altub.training.fields import find_setting

__all__ = ["BAD_INPUT", "STOPPED", "Data", "Device", "Json", "Model", "Quiet", "RunDir", "flag"]

BAD_INPUT, STOPPED = 2, 130


def flag(name: str, *spellings: str, more: str = "") -> Any:
    """The option of a setting: help and default come from the setting itself.

    Args:
        name: dotted name, such as "base.interval".
        spellings: "--epochs"; empty takes the parameter's own name.
        more: a further sentence of help.
    """
    entry = find_setting(name)
    words = f"{entry.help_text} {more}".strip()
    return typer.Option(*spellings, help=words, show_default=entry.default_text or False)


Data = Annotated[str, typer.Option(help=find_setting("data").help)]
Device = Annotated[str, typer.Option(help=find_setting("device").help)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Model = Annotated[Path, typer.Option(help="A run's model folder, such as runs/bottle/model.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
RunDir = Annotated[Path, typer.Argument(help="The run's directory.")]
