"""The command `bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from altub.cli.options import Json

__all__ = ["register"]

BOUND_BROKEN = 1  # exit code


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(bench)


def bench(
    repeats: Annotated[int, typer.Option(help="Measurements of which the median is taken.")] = 7,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    load: Annotated[
        int | None,
        typer.Option(metavar="CLIENTS", min=1, max=1000, help="Load the page with so many clients at once instead."),
    ] = None,
    requests: Annotated[int, typer.Option(min=1, help="Requests of each of these clients.")] = 20,
    latency: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Measure from a file in a watched folder to its verdict by this model."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Our coupling step and training epoch beside FrEIA's block and the published loop, at equal mathematics; or, with
    --load, the page with many clients at once: errors, wrong answers, latency, memory and files left. Exit code 1 if
    it broke a bound."""
    if latency is not None:
        _measure_latency(latency, as_json)
        return
    if load is None:
        from altub.evaluation.bench import run_bench

        run_bench(repeats=repeats, threads=threads, as_json=as_json)
        return
    from altub.ui.bench.load import print_load, run_load

    result = run_load(load, requests, tell=lambda text: print(text, file=sys.stderr, flush=True))
    print_load(result, as_json)
    if result.problems:
        raise typer.Exit(BOUND_BROKEN)


def _measure_latency(model: Path, as_json: bool) -> None:
    from altub.cli.progress import CountBar
    from altub.line.latency import measure_latency

    with CountBar("images") as bar:
        found = measure_latency(model, progress=bar.update)
    print(json.dumps(found.to_dict()) if as_json else found.sentence())
