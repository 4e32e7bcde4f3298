"""Options and exit codes that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from altub.training.fields import find_setting

if TYPE_CHECKING:
    from altub.inference.detector import AnomalyDetector
    from altub.inference.threshold import Threshold

__all__ = [
    "BAD_INPUT",
    "STOPPED",
    "Data",
    "Device",
    "Json",
    "Model",
    "OwnRate",
    "Quiet",
    "RunDir",
    "flag",
    "threshold_at",
]

BAD_INPUT, STOPPED = 2, 130


def flag(name: str, *spellings: str, more: str = "") -> Any:
    """The option of a setting: help and default come from the setting itself.

    Args:
        name: dotted name, such as "base.interval".
        spellings: "--epochs"; empty takes the parameter's own name.
        more: a further sentence of help.
    """
    entry = find_setting(name)
    words = f"{entry.help_text} {more}".strip()
    return typer.Option(*spellings, help=words, show_default=entry.default_text or False)


Data = Annotated[str, typer.Option(help=find_setting("data").help)]
Device = Annotated[str, typer.Option(help=find_setting("device").help)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Model = Annotated[Path, typer.Option(help="A run's model folder, such as runs/bottle/model.")]
OwnRate = Annotated[
    float | None,
    typer.Option(
        help="Share of good images that may be called defective.",
        show_default="the model's own threshold; where none was set, 0.05",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
RunDir = Annotated[Path, typer.Argument(help="The run's directory.")]


def threshold_at(detector: AnomalyDetector, false_alarm_rate: float | None) -> Threshold:
    """The threshold of `--false-alarm-rate`; without it the model's own.

    Raises:
        ConfigError: the rate is not between 0 and 1.
        ModelError: the model was never calibrated.
    """
    if false_alarm_rate is None:
        return detector.threshold
    return detector.require_calibration().threshold(false_alarm_rate)
