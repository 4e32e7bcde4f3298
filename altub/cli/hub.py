"""The commands `push` and `pull`: models to the Hugging Face Hub and back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from altub.cli.options import Json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(push)
    app.command()(pull)


def push(
    model: Annotated[Path, typer.Option(help="A run's model folder, such as runs/bottle/model.")],
    repo: Annotated[str, typer.Option(help="user/name on the Hub; created if needed.")],
    private: Annotated[bool, typer.Option("--private", help="Create the repo as private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to.", show_default="main")] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence, such as apache-2.0 or cc-by-nc-sa-4.0.")] = None,
    include_examples: Annotated[
        bool,
        typer.Option("--include-examples", help="Publish heatmaps over test images too; else no image is."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Pushes a model, its card and its curves to the Hugging Face Hub, in one commit."""
    from altub.hub import push as push_model

    result = push_model(
        model,
        repo,
        private=private,
        revision=revision,
        message=message,
        licence=licence,
        include_examples=include_examples,
        report=_report,
    )
    if result.card_kept:
        print("Note: the card was edited on the Hub, so it was not changed.", file=sys.stderr)
    elif licence is None:
        print("Note: the card names no licence: --licence states what others may do.", file=sys.stderr)
    if as_json:
        print(json.dumps(vars(result)))
    else:
        print(result.url if result.changed else f"{result.url} (the Hub is up to date already)")


def pull(
    model: Annotated[str, typer.Argument(help="user/name or user/name@revision.")],
    run_dir: Annotated[Path, typer.Option(help="Folder of the new run, such as runs/bottle; Inspect lists it.")],
    with_backbone: Annotated[
        bool, typer.Option("--with-backbone", help="Fetch the weights of its backbone too, if they are missing here.")
    ] = False,
) -> None:
    """Pulls a model from the Hugging Face Hub into a run directory."""
    from altub.hub import pull as pull_model

    run = pull_model(model, run_dir, with_backbone=with_backbone, report=_report)
    status = run.read_status()
    for note in [status.message, *status.notes]:
        print(f"Note: {note}", file=sys.stderr)
    print(run.model_dir)


def _report(fraction: float | None, text: str) -> None:
    if sys.stderr.isatty():
        print(f"{text} ...", file=sys.stderr)
