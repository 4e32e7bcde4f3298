"""The commands `categories` and `download`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from altub.cli.options import Data
from altub.errors import ConfigError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(categories)
    app.command()(download)


def categories(data: Data = "sample") -> None:
    """One category a line; on a terminal with how many images there are."""
    from altub.data import list_categories

    for category in list_categories(data):
        if on_terminal():
            counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in category.counts().items())
            print(f"{category.name:<16} {counts}")
        else:
            print(category.name)


def download(
    category: Annotated[str, typer.Argument(help="An MVTec AD category, or 'all'.")] = "all",
    data: Annotated[Path | None, typer.Option(help="Where to put it; default: <data root>/mvtec.")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You accept CC BY-NC-SA 4.0: no commercial use.")
    ] = False,
) -> None:
    """Downloads MVTec AD; an interrupted download is continued."""
    from altub.cli.progress import DownloadBar
    from altub.data.download import MVTEC_LICENCE, download_mvtec
    from altub.settings import data_root

    if not accept_licence:
        raise ConfigError(f"MVTec AD is under {MVTEC_LICENCE}, for no commercial use: accept it by --accept-licence.")
    with DownloadBar() as bar:
        folder = download_mvtec(
            category, data or data_root() / "mvtec", accept_licence=accept_licence, progress=bar.update
        )
    print(folder)


def on_terminal() -> bool:
    """Does a person read stdout?"""
    return sys.stdout.isatty()
