"""The commands `push` and `pull`: models to the Hugging Face Hub and back, and labels to it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from altub.cli.options import Json
from altub.errors import ConfigError
from altub.files import printable

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(push)
    app.command()(pull)


def push(
    repo: Annotated[str, typer.Option(help="user/name on the Hub; created if needed.")],
    folder: Annotated[
        Path | None, typer.Argument(help="A model folder, or labels that `labels export imagefolder` wrote.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="A run's model folder, such as runs/bottle/model.")] = None,
    public: Annotated[
        bool | None,
        typer.Option(
            "--public/--private",
            help="Who may see a repo that is created: everybody, or you alone.",
            show_default="models: public, labels: private",
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch to push to.", show_default="main")] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence, such as apache-2.0 or cc-by-nc-sa-4.0.")] = None,
    include_examples: Annotated[
        bool,
        typer.Option("--include-examples", help="Publish heatmaps over test images too; else no image is."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Pushes a model with its card and curves, or labels as a data set, to the Hugging Face Hub, in one commit."""
    from altub.labels.publish import is_label_folder

    chosen = folder if model is None else model
    if chosen is None or None not in (folder, model):
        raise ConfigError(
            "Give one folder to push: a run's model folder, or labels of `altub labels export imagefolder`."
        )
    if model is None and is_label_folder(chosen):
        if include_examples:
            raise ConfigError("--include-examples goes with a model; labels are pushed with their images.")
        _push_labels(chosen, repo, public is True, revision, message, licence, as_json)
    else:
        _push_model(chosen, repo, public is False, revision, message, licence, include_examples, as_json)


def _push_labels(
    folder: Path,
    repo: str,
    public: bool,
    revision: str | None,
    message: str | None,
    licence: str | None,
    as_json: bool,
) -> None:
    from altub.labels import push_labels

    result = push_labels(
        folder, repo, public=public, revision=revision, message=message, licence=licence, report=_report
    )
    _notes(card_kept=result.card_kept, licence=licence)
    if result.people:
        names = printable(", ".join(result.people))
        print(f"Note: the data set names who labelled: {names}.", file=sys.stderr)
    load = f'load_dataset("{result.repo}")'
    if as_json:
        print(json.dumps(vars(result) | {"load": load}))
        return
    kept = "" if result.changed else " (the Hub is up to date already)"
    print(f"{result.url}{kept}\n{load}")


def _push_model(
    folder: Path,
    repo: str,
    private: bool,
    revision: str | None,
    message: str | None,
    licence: str | None,
    include_examples: bool,
    as_json: bool,
) -> None:
    from altub.hub import push as push_model

    result = push_model(
        folder,
        repo,
        private=private,
        revision=revision,
        message=message,
        licence=licence,
        include_examples=include_examples,
        report=_report,
    )
    _notes(card_kept=result.card_kept, licence=licence)
    if as_json:
        print(json.dumps(vars(result)))
    else:
        print(result.url if result.changed else f"{result.url} (the Hub is up to date already)")


def _notes(*, card_kept: bool, licence: str | None) -> None:
    if card_kept:
        print("Note: the card was edited on the Hub, so it was not changed.", file=sys.stderr)
    elif licence is None:
        print("Note: the card names no licence: --licence states what others may do.", file=sys.stderr)


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
