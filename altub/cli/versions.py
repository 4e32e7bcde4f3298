"""The commands `versions` and `threshold`: the history of a saved model, and its own threshold."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from altub.cli.options import Json, Model
from altub.errors import ConfigError
from altub.files import printable

if TYPE_CHECKING:
    from altub.inference.config import ModelVersion
    from altub.inference.threshold import Threshold

__all__ = ["register"]

Folder = Annotated[Path, typer.Argument(help="A run's model folder, such as runs/bottle/model.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(versions)
    app.command()(threshold)


def versions(
    model: Folder,
    restore: Annotated[int | None, typer.Option(help="Put this version in use again.")] = None,
    remove: Annotated[int | None, typer.Option(help="Delete this version; not the one in use.")] = None,
    as_json: Json = False,
) -> None:
    """Lists the versions of a model: each change of its threshold and each adaptation makes one."""
    from altub.inference.model_files import read_config
    from altub.inference.versions import list_versions, remove_version, restore_version

    if restore is not None and remove is not None:
        raise ConfigError("Give --restore or --remove, not both.")
    if restore is not None:
        restore_version(model, restore)
    if remove is not None:
        remove_version(model, remove)
    current = read_config(model).version
    found = list_versions(model)
    if as_json:
        in_use = None if current is None else current.number
        print(json.dumps({"in_use": in_use, "versions": [version.model_dump(mode="json") for version in found]}))
    elif not found:
        print("One version, as trained: nothing was changed since.")
    else:
        print("\n".join(_line(version, version == current) for version in found))


def threshold(
    model: Model,
    score: Annotated[float | None, typer.Option(help="Score above which an image is anomalous.")] = None,
    pixel_value: Annotated[float | None, typer.Option(help="Map value above which a pixel is; with --score.")] = None,
    false_alarm_rate: Annotated[
        float | None, typer.Option(help="Share of good images that may exceed it, by the held-out good images.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Back to the default false-alarm rate of 0.05.")] = False,
    note: Annotated[str, typer.Option(help="Why, kept with the version.")] = "",
    as_json: Json = False,
) -> None:
    """Shows a model's own threshold and what it promises, or sets it as a new version."""
    from altub.inference.detector import AnomalyDetector
    from altub.inference.threshold import Threshold
    from altub.inference.versions import save_threshold

    wishes = (score is not None, false_alarm_rate is not None, reset)
    if sum(wishes) > 1:
        raise ConfigError("Give one of --score, --false-alarm-rate and --reset.")
    if pixel_value is not None and score is None:
        raise ConfigError("--pixel-value goes with --score.")
    detector = AnomalyDetector.load(model, "cpu", download=False)
    if any(wishes):
        wanted = None
        if score is not None:
            pixels = detector.threshold.pixel_value if pixel_value is None else pixel_value
            wanted = Threshold.fixed(score, pixels)
        elif false_alarm_rate is not None:
            wanted = detector.require_calibration().threshold(false_alarm_rate)
        detector.own_threshold = wanted
        save_threshold(model, wanted, note or detector.threshold.origin.promise)
    values = _values(detector.threshold)
    if as_json:
        print(json.dumps(values))
    else:
        for name, value in values.items():
            if value is not None:
                print(f"{name.replace('_', ' '):<12} {value}")


def _values(threshold: Threshold) -> dict[str, Any]:
    return {
        "score": threshold.value,
        "pixel_value": threshold.pixel_value,
        "origin": threshold.origin.kind,
        "promise": threshold.origin.promise,
        "warning": threshold.warning,
    }


def _line(version: ModelVersion, in_use: bool) -> str:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(version.created))
    author = f", {printable(version.author)}" if version.author else ""
    return f"{'*' if in_use else ' '} {version.number:>3}  {made}  {version.kind}{author}: {printable(version.note)}"
