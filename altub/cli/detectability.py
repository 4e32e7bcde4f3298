"""The command `detectability`: the smallest defects that a model finds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from altub.cli.options import Data, Device, Json, Model, OwnRate, threshold_at
from altub.errors import ConfigError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(detectability)


def detectability(
    model: Model,
    category: Annotated[str, typer.Option(help="Category of the model; its good images get the defects.")],
    data: Data = "sample",
    false_alarm_rate: OwnRate = None,
    contrasts: Annotated[
        str, typer.Option(help="Mean change of a defect's pixels, 0 to 1, several with commas.")
    ] = "0.25",
    kinds: Annotated[str, typer.Option(help="Any of scratch,spot,cut-paste,colour,texture.", show_default="all")] = "",
    trials: Annotated[int, typer.Option(help="Defects of each kind and contrast.")] = 60,
    smallest: Annotated[float, typer.Option(help="Smallest size in pixels of the image.")] = 1.5,
    largest: Annotated[
        float | None, typer.Option(help="Largest size in pixels.", show_default="a fifth of the shorter side")
    ] = None,
    mm_per_pixel: Annotated[float | None, typer.Option(help="Scale of the images: sizes are then in mm.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the defects.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for result, chart and examples.", show_default="detectability in the model's folder"),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """The smallest defects that a model finds: synthetic defects of known size on good images it was not trained on.

    Prints the sizes found in 50 and 90 % of cases, with a 95 % bound, and the real defects of the test set beside them.
    """
    from altub.cli.progress import CountBar
    from altub.data import load_category
    from altub.data.synthetic import DEFECT_KINDS
    from altub.evaluation.detectability import Plan, measure_detectability, unseen_good
    from altub.evaluation.detectability.report import FOLDER, report_lines, write_report
    from altub.inference.detector import AnomalyDetector
    from altub.inference.model_files import read_config

    plan = Plan(
        kinds=tuple(_words(kinds)) or DEFECT_KINDS,
        contrasts=tuple(_number(word) for word in _words(contrasts)),
        trials=trials,
        smallest=smallest,
        largest=largest,
        seed=seed,
    )
    chosen = load_category(data, category)
    good = unseen_good(model, chosen)
    detector = AnomalyDetector.load(model, device)
    threshold = threshold_at(detector, false_alarm_rate)
    if threshold.warning:
        print(f"Note: {threshold.warning}", file=sys.stderr)
    with CountBar("images") as bar:
        result = measure_detectability(
            detector,
            good,
            threshold=threshold,
            plan=plan,
            real=chosen.defective,
            mm_per_pixel=mm_per_pixel,
            category=category,
            weights_sha256=read_config(model).weights_sha256,
            progress=bar.update,
        )
    written = write_report(output or model / FOLDER, result, detector, good)
    if as_json:
        print(json.dumps(result.summary()))
    else:
        print("\n".join(report_lines(result)))
        print(f"\n{written[0].parent}: {', '.join(path.name for path in written)}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ConfigError(f"A contrast is a number above 0, at most 1, not {word!r}.") from None
