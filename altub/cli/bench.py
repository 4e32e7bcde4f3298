"""The command `bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from altub.cli.options import Data, Json
from altub.errors import ConfigError

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
    startup: Annotated[bool, typer.Option("--startup", help="Measure how fast we start.")] = False,
    time_to_quality: Annotated[
        bool, typer.Option("--time-to-quality", help="Train until as good as a peer, and compare the seconds.")
    ] = False,
    data: Data = "sample",
    category: Annotated[str | None, typer.Option(help="Category that is trained on.")] = None,
    backbone: Annotated[str, typer.Option(help="Of both.")] = "resnet18.tv_in1k",
    image_size: Annotated[int, typer.Option(min=32, help="Pixels, of both.")] = 128,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of ours.", show_default="as in `train`")] = None,
    peer_python: Annotated[
        Path | None, typer.Option(metavar="PYTHON", help="A Python with anomalib, whose FastFlow trains or scores.")
    ] = None,
    peer_epochs: Annotated[int, typer.Option(min=1, help="Of the peer.")] = 8,
    scoring: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="Score small files by `predict` with this model.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Files of --scoring.")] = 10_000,
    inference: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Score one file and batches with this model, beside a peer's."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Our coupling step and training epoch beside FrEIA's block and the published loop, at equal mathematics; or, with
    --load, the page with many clients at once: errors, wrong answers, latency, memory and files left. Exit code 1 if
    it broke a bound. --time-to-quality trains ours and a peer until they are equally good; --inference scores beside a
    peer; --scoring predicts many files."""
    if inference is not None:
        from altub.evaluation.bench import InferenceBench

        tell = (lambda line: None) if as_json else print
        given = {"model": inference, "peer_python": peer_python, "tell": tell}
        measured = InferenceBench(threads=threads, repeats=repeats, **given).run()
        if as_json:
            print(json.dumps(measured))
        return
    if scoring is not None:
        from altub.evaluation.bench import measure_scoring

        measured = measure_scoring(scoring, images, threads)
        print(json.dumps(measured.to_dict()) if as_json else measured.sentence())
        return
    if startup:
        _measure_startup(as_json)
        return
    if time_to_quality:
        if category is None:
            raise ConfigError("--time-to-quality needs a category: give --category, and --data where it lies.")
        from altub.evaluation.bench import QualityBench

        found = QualityBench(
            data=data,
            category=category,
            backbone=backbone,
            image_size=image_size,
            epochs=epochs,
            threads=threads,
            peer_python=peer_python,
            peer_epochs=peer_epochs,
            tell=lambda line: print(line, file=sys.stderr, flush=True),
        ).run()
        print(json.dumps(found)) if as_json else _print_quality(found)
        return
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


def _measure_startup(as_json: bool) -> None:
    from altub.evaluation.bench import run_startup

    found = run_startup()
    if as_json:
        print(json.dumps(found))
        return
    for what, seconds in found.items():
        print(f"{what:<16}" + ("Gradio is not installed" if seconds is None else f"{seconds:6.2f} s"))


def _print_quality(found: dict[str, Any]) -> None:
    """When each side reached each target, and what its seconds were spent on."""
    print(f"{found['category']}, {found['image_size']} px, {found['backbone']}, {found['threads']} threads, fp32")
    whose = "the peer" if found["peer"] else "ours"
    for target, values in found["targets"].items():
        print(f"\npixel AUROC of {whose}, {target} epoch: {values['pixel_auroc']:.4f}")
        print("         epoch  pixel AUROC  seconds  of them imports  evaluations  CPU seconds")
        for name, reached in values["reached"].items():
            if reached is not None:
                print(
                    f"{name:<8} {reached['epoch']:>5} {reached['pixel_auroc']:>12.4f} {reached['seconds']:>8.1f} "
                    f"{found[name]['imports']:>16.1f} {reached['evaluating']:>12.1f} {reached['cpu_seconds']:>12.1f}"
                )
            elif found[name] is not None:
                best = max(epoch["pixel_auroc"] for epoch in found[name]["epochs"])
                print(f"{name:<8} not reached; best {best:.4f}")
        if values["ratios"] is not None:
            words = {name.replace("_", " "): value for name, value in values["ratios"].items()}
            print("peer / ours: " + ", ".join(f"{name} {value:.2f}" for name, value in words.items()))
