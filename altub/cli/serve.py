"""The command `ui`."""

from __future__ import annotations

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    # The page has options of its own, which go through as they are.
    through = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(context_settings=through)(ui)


def ui(context: typer.Context) -> None:
    """The web page; the same as `python app.py`, with the same options."""
    from altub.ui.app import run as start_page

    raise typer.Exit(start_page(context.args))
