"""`python -m altub deploy`: this checkout becomes a Hugging Face Space."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from altub.errors import ConfigError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(deploy)


def deploy(
    space: Annotated[str | None, typer.Argument(help="Space, as user/name.", show_default=False)] = None,
    hardware: Annotated[str | None, typer.Option(help="Such as cpu-basic, t4-small or zero-a10g.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Create the Space as private.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Only assemble the Space in this folder; no upload.")] = None,
    model: Annotated[Path | None, typer.Option(help="Starting model, such as runs/bottle/model.")] = None,
) -> None:
    """Assembles a Hugging Face Space from this checkout, with a model to start with, and uploads it in one commit.

    Without --model a model of the built-in sample is trained first: a minute or two on a CPU.
    """
    from altub.deploy.contents import assemble
    from altub.deploy.upload import check_name, upload

    if space is None and folder is None:
        raise ConfigError("Name the Space as user/name, or give --folder to assemble it without an upload.")
    if space is not None:
        check_name(space)
    if folder is not None:
        for path in assemble(folder, model=model, hardware=hardware, tell=_tell):
            print(path)
        return
    with tempfile.TemporaryDirectory(prefix="altub-space-") as temporary:
        assembled = Path(temporary) / "space"
        assemble(assembled, model=model, hardware=hardware, tell=_tell)
        _tell(f"Uploading to {space}.")
        print(upload(assembled, space, hardware=hardware, private=private, tell=_tell))


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
