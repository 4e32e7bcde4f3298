"""The run and the settings of a `train` command: a new run, or one to resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from altub.data import load_category
from altub.data.catalog import SAMPLE
from altub.errors import RunError
from altub.runs.run import Run
from altub.training.config import PRESETS, TrainingConfig, make_config
from altub.training.fields import all_settings, value_of

__all__ = ["configure", "open_or_create"]

_MAY_CHANGE = ("epochs", "device", "recompute", "evaluate_every")  # they leave what was trained so far as it is


def open_or_create(run_dir: Path, preset: str | None, settings: dict[str, Any], resume: bool) -> Run:
    """The run in `run_dir`: with `resume` the one that is there, else a new one.

    Args:
        settings: those that were given; the preset and the defaults fill the rest.

    Raises:
        RunError: another run is there, or no category was given for a new one.
        ConfigError: a setting is unknown or out of range.
        DataError: the data is not there, or has no such category.
    """
    if resume and (run_dir / "config.json").exists():
        run = Run.open(run_dir)
        # A run that failed before its first checkpoint may be started again with other settings.
        if run.has_progress or "category" not in settings:
            _change_settings(run, preset, settings)
            return run
    if "category" not in settings:
        raise RunError("Name what to train: --category NAME (and --data DIR; see `python -m altub categories`).")
    config = configure(preset, settings)
    if config.data != SAMPLE:  # which may have to be made first, with a progress bar
        load_category(config.data, config.category)  # a wrong name is refused at once and leaves no run behind
    return Run.create(run_dir, config)


def configure(preset: str | None, settings: dict[str, Any], old: TrainingConfig | None = None) -> TrainingConfig:
    """`settings` over those of the preset over those of `old`, or over the defaults."""
    layers = [settings]
    if old is not None:
        layers = [old.model_dump(), PRESETS[preset].settings if preset in PRESETS else {}, settings]
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return make_config(preset if old is None or preset not in PRESETS else None, **merged)


def _change_settings(run: Run, preset: str | None, settings: dict[str, Any]) -> None:
    """On resume only what leaves the model so far as it is may differ: `_MAY_CHANGE`."""
    old = run.config
    wished = configure(preset, settings, old)
    differing = _differences(old, wished)
    # "auto" was replaced by what it stood for when the run began.
    resolved = ("backbone", "precision", "feature_format")
    differing = [name for name in differing if name not in resolved or getattr(wished, name) != "auto"]
    allowed = {name: getattr(wished, name) for name in differing if name in _MAY_CHANGE}
    forbidden = ", ".join(name for name in differing if name not in _MAY_CHANGE)
    if forbidden:
        raise RunError(
            f"Run {run.id} was started with another {forbidden}: leave that out to resume it, or start a new run in "
            "another directory."
        )
    if not allowed:
        return
    trained = run.read_status().epoch
    if wished.epochs < trained:
        raise RunError(f"Run {run.id} has trained {trained} epochs, more than {wished.epochs}: give more --epochs.")
    if run.is_alive():
        raise RunError(f"Run {run.id} is being trained right now: wait or stop it first. Nothing was changed.")
    run.replace_config(old.model_copy(update=allowed))


def _differences(old: TrainingConfig, new: TrainingConfig) -> list[str]:
    """Dotted names of the settings that differ."""
    names = [entry.name for entry in all_settings()]
    return [name for name in names if value_of(old, name) != value_of(new, name)]
