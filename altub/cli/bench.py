"""The command `bench`."""

from __future__ import annotations

from typing import Annotated

import typer

from altub.cli.options import Json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(bench)


def bench(
    repeats: Annotated[int, typer.Option(help="Measurements of which the median is taken.")] = 7,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    as_json: Json = False,
) -> None:
    """Our coupling step and training epoch beside FrEIA's block and the published loop, at equal mathematics."""
    from altub.evaluation.bench import run_bench

    run_bench(repeats=repeats, threads=threads, as_json=as_json)
