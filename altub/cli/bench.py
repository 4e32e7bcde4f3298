"""The command `bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from altub.cli.options import Data, Device, Json
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
        Path | None,
        typer.Option(metavar="PYTHON", help="A Python with anomalib, which trains, scores or starts beside ours."),
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
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Our coupling step and training epoch beside FrEIA's block, the published loop and, with --peer-python, anomalib,
    at equal mathematics; or, with --load, the page with many clients at once: errors, wrong answers, latency, memory
    and files left. Exit code 1 if it broke a bound. --time-to-quality trains ours and a peer until they are equally
    good; --inference scores beside a peer; --startup starts beside one; --scoring predicts many files."""
    if inference is not None:
        from altub.evaluation.bench import InferenceBench

        tell = (lambda line: None) if as_json else print
        given = {"model": inference, "device": device, "peer_python": peer_python, "tell": tell}
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
        _measure_startup(peer_python, as_json)
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
            device=device,
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
        from altub.evaluation.bench import StepBench

        found = StepBench(repeats=repeats, threads=threads, device=device, peer_python=peer_python).run()
        print(json.dumps(found)) if as_json else _print_steps(found)
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


def _measure_startup(peer_python: Path | None, as_json: bool) -> None:
    from altub.evaluation.bench import run_startup

    found = run_startup(peer_python=peer_python)
    if as_json:
        print(json.dumps(found))
        return
    peer = found.pop("peer", None)
    for what, seconds in found.items():
        print(f"{what:<16}" + ("Gradio is not installed" if seconds is None else f"{seconds:6.2f} s"))
    if peer is not None:
        for what, seconds in peer["seconds"].items():
            print(f"{what:<16}" + (peer["missing"][what] if seconds is None else f"{seconds:6.2f} s"))
        for what, ratio in peer["ratios"].items():
            print(f"{what}: the peer takes {ratio:.1f} times as long")


def _print_steps(found: dict[str, Any]) -> None:
    """Steps and epoch of all sides, then how far their losses agree."""
    epoch, theirs = found["epoch"], ["published", *(["peer"] if found["epoch"]["peer"] is not None else [])]
    print(f"{found['device_name']}, fp32, medians of {found['repeats']}; ratios: theirs / ours (of CPU time)")
    if found["tf32"]:
        print("fp32 convolutions multiply in TF32, PyTorch's default on this GPU")
    blocks = {"published": "FrEIA", "peer": "anomalib"}
    for block in found["steps"]:
        title = f"coupling step, {block['backbone']}, {block['images']} images"
        print(f"\n{title:<42}ours ms" + "".join(f"{blocks[name] + ' ms':>13}  ratio      " for name in theirs).rstrip())
        for row in [*block["rows"], block["all"]]:
            shape = "{channels} channels, {side} x {side}, {kernel}x{kernel} subnet"
            what = shape.format_map(row) if "channels" in row else "all"
            beside = "".join(f"{row[name]['seconds'] * 1e3:>13.1f}  {_ratio(row['ratios'][name])}" for name in theirs)
            print(f"  {what:<38}{row['ours']['seconds'] * 1e3:>9.1f}{beside}")
    sides = {
        "ours": "ours, same mathematics",
        "ours_default": f"ours by default, {epoch['ours_default']['precision']}",
        "published": "published loop",
        "peer": "anomalib",
    }
    print(f"\ntraining epoch, {epoch['backbone']}, {epoch['images']} images of {epoch['image_size']} px")
    print(f"{'':<30}seconds     CPU  images/s  of the roofline     MiB  / ours       / ours by default")
    for name in ("ours", "ours_default", *theirs):
        side, what = epoch[name], sides[name]
        ratios = "  ".join(_ratio(of[name]) for of in epoch["ratios"].values()) if name in theirs else ""
        values = (
            f"  {what:<28}{side['seconds']:>7.2f} {side['cpu_seconds']:>7.2f} {side['images_per_second']:>9.2f} "
            f"{100 * side['roofline_share']:>14.0f} % {side['peak_memory_mib']:>7.0f}  {ratios}"
        )
        print(values.rstrip())
    for name, ratios in epoch["ratios"].items():
        long = ", ".join(f"{sides[other]} {ratios[other]['with_caching']:.2f}" for other in theirs)
        caching = f"{epoch[name]['caching_seconds']:.2f} s of caching, once"
        print(f"  {sides[name]}: {caching}; ratios with it over {epoch['long_training']} epochs: {long}")
    rates = ", ".join(f"{rate / 1e9:.0f} in {precision}" for precision, rate in epoch["matmul_rates"].items())
    print(f"  large matrices, billion operations a second{' of CPU time' * (found['device'] == 'cpu')}: {rates}")
    differences = ", ".join(f"{sides[name]} {epoch['loss_difference'][name]:.1e}" for name in theirs)
    print(f"  largest difference of the losses from ours, relative: {differences}")


def _ratio(ratios: dict[str, float]) -> str:
    return f"{ratios['seconds']:.2f} ({ratios['cpu_seconds']:.2f})"


def _print_quality(found: dict[str, Any]) -> None:
    """When each side reached each target, and what its seconds were spent on."""
    print(f"{found['category']}, {found['image_size']} px, {found['backbone']}, {found['device_name']}, fp32")
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
    print()
    for name in ("ours", "peer"):
        if found[name] is not None and found[name]["images_per_second"] is not None:
            speed, share = found[name]["images_per_second"], 100 * found[name]["roofline_share"]
            print(f"{name:<8} {speed:.1f} images/s while training, {share:.0f} % of the roofline")
