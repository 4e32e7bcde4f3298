"""From lists of choices to the runs of a study, checked against what is in its folder already."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altub.data import load_category
from altub.data.catalog import SAMPLE
from altub.errors import ConfigError, RunError
from altub.evaluation.compare import effective_settings, update_name
from altub.evaluation.study.axes import combinations, is_read_by, parse_axes
from altub.runs.run import Run
from altub.training.config import TrainingConfig, make_config
from altub.training.fields import find_setting, nested, parse_pairs, value_of
from altub.training.schedule import FORMER_VARIANTS, VARIANTS, BaseSchedule, current_variant

__all__ = ["RUNS", "PlannedRun", "StudyGrid", "parse_settings", "parse_varied", "plan_runs"]

RUNS = "runs"  # folder of the run directories below the study's
PLAIN_FLOW = "fastflow"

_BASES: dict[str, dict[str, Any]] = {
    "off": {"base_update": "off"},
    "gradient": {},
    **VARIANTS,
    "moments": {"base_update": "moments"},
}
# Chosen by the grid itself, or per process.
_NOT_TO_SET = ("category", "data", "seed", "device", "base.base_update", "flow.kind")


@dataclass(frozen=True)
class StudyGrid:
    """What is combined with what. base_updates: off, gradient (the default schedule), a name of `VARIANTS`, or moments,
    each with settings behind it where wanted ("moments:interval=2"). settings: of all runs alike, as `make_config`
    takes them. axes: further settings by their dotted names, each with the values to cross with all else."""

    data: str
    categories: Sequence[str]
    base_updates: Sequence[str]
    seeds: Sequence[int]
    flows: Sequence[str] = (PLAIN_FLOW,)
    settings: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedRun:
    """One training of the grid and where it lives."""

    run: Run
    config: TrainingConfig

    @property
    def name(self) -> str:
        return self.run.id

    def is_done(self) -> bool:
        status = self.run.status
        return status.state == "finished" and status.epoch >= self.config.epochs


def plan_runs(grid: StudyGrid, study_dir: Path) -> list[PlannedRun]:
    """The runs of the grid, seed by seed, so that every comparison has its first answer early. Writes nothing.

    Raises:
        ConfigError: a choice or a setting is unknown, or out of range.
        DataError: the data is not there, or lacks a category.
        RunError: the folder holds a run of the same name with other settings.
    """
    for what, values in (("category", grid.categories), ("base update", grid.base_updates), ("seed", grid.seeds)):
        if not values:
            raise ConfigError(f"A study needs at least one {what}.")
    data = SAMPLE if grid.data == SAMPLE else str(Path(grid.data).expanduser().resolve())
    if data != SAMPLE:  # which may have to be drawn first: the trainings do that, one of them at a time
        for category in grid.categories:
            load_category(data, category)
    planned: dict[str, PlannedRun] = {}
    seen: set[str] = set()
    _refuse_set_and_varied(grid)
    for seed, category, flow, chosen, update in itertools.product(
        grid.seeds, grid.categories, grid.flows, combinations(grid.axes), grid.base_updates
    ):
        chosen = {name: value for name, value in chosen.items() if is_read_by(name, flow)}
        config = _config(grid, data, category, flow, chosen, update, seed)
        name, content = _run_name(category, flow, chosen, config), config.model_dump_json()
        if name not in planned and content not in seen:  # two words for one update, or for one norm, are one run
            run = Run(study_dir / RUNS / _name_on_disk(study_dir, name))
            planned[name] = PlannedRun(run, config)
            _refuse_other_settings(run, config)
        seen.add(content)
    return list(planned.values())


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """["epochs=10", "flow.norm=layer"] -> {"epochs": 10, "flow": {"norm": "layer"}}.

    Raises:
        ConfigError: not key=value, an unknown setting, or one that the grid itself chooses.
    """
    return parse_pairs(pairs, dict.fromkeys(_NOT_TO_SET, "the study has an option for it"))


def parse_varied(pairs: Sequence[str]) -> dict[str, list[Any]]:
    """["flow.norm=position,whiten"] -> {"flow.norm": ["position", "whiten"]}.

    Raises:
        ConfigError: as `parse_axes`, or a setting that the grid itself chooses.
    """
    return parse_axes(pairs, reserved=_NOT_TO_SET)


def _refuse_set_and_varied(grid: StudyGrid) -> None:
    for name, values in grid.axes.items():
        outer, _, inner = name.partition(".")
        given = grid.settings.get(outer, {}) if inner else grid.settings
        if not values or (inner or outer) in given:
            raise ConfigError(f"{name} needs values to vary over, or one value for all runs: give one of the two.")


def _config(
    grid: StudyGrid, data: str, category: str, flow: str, chosen: Mapping[str, Any], update: str, seed: int
) -> TrainingConfig:
    settings = dict(grid.settings)
    for key, value in nested(chosen).items():
        settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
    base = _schedule_settings(update)
    if base.get("base_update") != "off":
        base = {**base, **settings.get("base", {})}
        base |= _own_settings(update)  # those behind the update's name count most
    settings["base"] = base
    if flow != PLAIN_FLOW:
        _require_flow(flow)
        settings["flow"] = {**settings.get("flow", {}), "kind": flow}
    return make_config(**{**settings, "data": data, "category": category, "seed": seed})


def _schedule_settings(update: str) -> dict[str, Any]:
    name = current_variant(update.partition(":")[0])
    if name not in _BASES:
        raise ConfigError(f"There is no base update {name!r}: choose {', '.join(_BASES)}.")
    return {**_BASES[name], **_own_settings(update)}


def _own_settings(update: str) -> dict[str, Any]:
    name, _, rest = update.partition(":")
    settings = {}
    for part in filter(None, rest.split(":")):
        key, sign, text = part.partition("=")
        if not sign or key == "base_update" or key not in BaseSchedule.model_fields or name == "off":
            raise ConfigError(f"{update!r} is not understood: settings go behind the name as in moments:interval=2.")
        settings[key] = find_setting(f"base.{key}").parse(text)
    return settings


def _require_flow(flow: str) -> None:
    try:
        make_config(category="any", flow={"kind": flow})
    except ConfigError as error:
        raise ConfigError(f"There is no flow {flow!r} in this version of AltUB: leave it out of --flows.") from error


def _run_name(category: str, flow: str, chosen: Mapping[str, Any], config: TrainingConfig) -> str:
    """Settings of the base are in the name of its update."""
    varied = [name for name in chosen if not name.startswith("base.")]
    values = [f"{name.rpartition('.')[2]} {find_setting(name).show(value_of(config, name))}" for name in varied]
    parts = (category, flow, update_name(config.base), *values)
    words = [re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-.") or "run" for part in parts]
    return "-".join([*words, f"seed{config.seed}"])


def _name_on_disk(study_dir: Path, name: str) -> str:
    """The name of the run's folder; one from before the variants were renamed keeps its own."""
    for former, variant in FORMER_VARIANTS.items():
        old = name.replace(f"-{variant}-", f"-{former}-")
        if old != name and (study_dir / RUNS / old).is_dir():
            return old
    return name


def _refuse_other_settings(run: Run, config: TrainingConfig) -> None:
    if not (run.path / "config.json").exists() or not run.checkpoint_file.exists():
        return  # what ended before it had anything to keep binds nobody
    old, new = effective_settings(run.config), effective_settings(config)
    # A run writes down what "auto" came to mean on its machine; the device may change from call to call.
    for key in ("device", *(key for key, value in new.items() if value is None or value == "auto")):
        old.pop(key, None), new.pop(key, None)
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if changed:
        names = ", ".join(changed)
        raise RunError(
            f"Run {run.id} of this study was started with another {names}: leave the setting as it was, or give "
            "another --study-dir."
        )
