"""The finished runs of a study, scored again under every combination of read-outs: one table a question."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altub.errors import AltUBError, ConfigError, DiskFullError, RunError
from altub.evaluation.compare import sample_std
from altub.evaluation.energy_cache import READOUTS, forget_energies
from altub.evaluation.study.axes import combinations, parse_axes
from altub.evaluation.study.grid import RUNS
from altub.evaluation.study.results import NO_FLOW, RunResult, collect_results, rows_to_csv
from altub.evaluation.study.variants import with_variant
from altub.files import write_atomically, write_json
from altub.metrics import METRICS
from altub.runs.run import Run, list_runs
from altub.training.fields import find_setting

__all__ = ["RescoredStudy", "forget_caches", "parse_readouts", "rescore_study", "write_rescored"]

SHOWN = ("image_auroc", "pixel_auroc", "aupro", "aupimo", "f1_max", "image_f1_max")


@dataclass
class RescoredStudy:
    """runs: a flat row for each run and read-out. summary: the same over the seeds, `<metric>_mean` and `<metric>_std`.
    readouts: the settings that were varied. notes: which runs could not be scored, and why."""

    readouts: list[str]
    runs: list[dict[str, Any]] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {"readouts": self.readouts, "notes": self.notes, "summary": self.summary, "runs": self.runs}


def parse_readouts(pairs: Sequence[str]) -> dict[str, list[Any]]:
    """["score_kind=range,map"] -> {"score_kind": ["range", "map"]}.

    Raises:
        ConfigError: not NAME=VALUE,VALUE, or no read-out.
    """
    return parse_axes(pairs, option="--rescore", only=READOUTS)


def rescore_study(
    study_dir: Path,
    axes: Mapping[str, Sequence[Any]],
    *,
    categories: Sequence[str] = (),
    device: str = "auto",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> RescoredStudy:
    """Every finished run under every combination of read-outs, and epoch 0 once for each seed of what is compared.

    Args:
        axes: by read-out the values to cross.
        categories: only these; empty means all.
        on_progress: called with runs done and runs in all.

    Raises:
        ConfigError: a value is out of range.
        RunError: there is no finished run.
    """
    from altub.evaluation.rescoring import rescore

    combos = combinations(axes)
    found = RescoredStudy(list(axes))
    tasks = _tasks(study_dir, axes, categories)
    for done, (result, is_start) in enumerate(tasks):
        on_progress(done, len(tasks))
        try:
            rescored = rescore(Run(study_dir / RUNS / result.run), combos, epoch_0=is_start, device=device)
        except (ConfigError, DiskFullError):  # true of all of them
            raise
        except AltUBError as error:
            found.notes.append(f"{result.run} was not scored: {error}")
            continue
        update = NO_FLOW if is_start else result.update
        for one in rescored:
            row = {"category": result.category, "flow": result.flow, "update": update, "run": result.run}
            row |= {"seed": result.seed, "epoch": one.epoch}
            readout = {name: find_setting(name).show(value) for name, value in one.readout.items()}
            found.runs.append(with_variant(row, {**_variant(result, axes), **readout}) | one.metrics.as_dict())
    on_progress(len(tasks), len(tasks))
    found.summary = _summary(found.runs)
    return found


def write_rescored(found: RescoredStudy, study_dir: Path) -> list[Path]:
    """rescored-<read-outs>.csv, .md (over the seeds) and .json (every run as well)."""
    stem = "-".join(["rescored", *found.readouts])
    written = {".csv": rows_to_csv(found.summary), ".md": markdown(found)}
    for ending, text in written.items():
        write_atomically(study_dir / f"{stem}{ending}", text.encode())
    write_json(study_dir / f"{stem}.json", found.as_json())
    return [study_dir / f"{stem}{ending}" for ending in (*written, ".json")]


def markdown(found: RescoredStudy) -> str:
    """The summary as a table: mean ± standard deviation over the seeds."""
    metrics = [name for name in SHOWN if any(row[f"{name}_mean"] is not None for row in found.summary)]
    if not found.summary:
        return "No run was scored.\n"
    names = [key for key in found.summary[0] if not key.endswith(("_mean", "_std"))]
    lines = ["| " + " | ".join([*names, *(METRICS[name].label for name in metrics)]) + " |"]
    lines.append("|" + "---|" * (len(names) + len(metrics)))
    for row in found.summary:
        cells = [str(row[name]) for name in names]
        for name in metrics:
            mean, std = row[f"{name}_mean"], row[f"{name}_std"]
            cells.append("-" if mean is None else f"{mean:.4f}" + ("" if std is None else f" ± {std:.4f}"))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def forget_caches(study_dir: Path) -> int:
    """Deletes the energies that are kept beside the runs; returns of how many runs."""
    return sum(forget_energies(run) for run in list_runs(study_dir / RUNS))


def _tasks(
    study_dir: Path, axes: Mapping[str, Sequence[Any]], categories: Sequence[str]
) -> list[tuple[RunResult, bool]]:
    """(run, is it to be scored at epoch 0): each training once, its epoch 0 with the first of those that share it."""
    tasks: list[tuple[RunResult, bool]] = []
    seen: set[tuple[Any, ...]] = set()
    for result in collect_results(study_dir).runs:
        if not result.is_finished or (categories and result.category not in categories):
            continue
        place = (result.category, result.flow, *_variant(result, axes).items(), result.seed)
        for is_start, what in ((True, (*place, NO_FLOW)), (False, (*place, result.update))):
            if what not in seen:
                seen.add(what)
                tasks.append((result, is_start))
    if not tasks:
        raise RunError(f"No run in {study_dir / RUNS} has finished: there is nothing to score yet.")
    return tasks


def _variant(result: RunResult, axes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Without the read-outs that are chosen anew: trainings that differ in them alone are one."""
    return {name: value for name, value in result.variant.items() if name not in axes}


def _summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        same = {key: value for key, value in row.items() if key not in ("run", "seed", "epoch", *METRICS)}
        groups.setdefault(tuple(same.items()), []).append(row)
    found = []
    for same, members in groups.items():
        summary: dict[str, Any] = {**dict(same), "seeds": len(members)}
        for name in METRICS:
            values = [row[name] for row in members if row[name] is not None]
            summary[f"{name}_mean"] = statistics.fmean(values) if values else None
            summary[f"{name}_std"] = sample_std(values)
        found.append(summary)
    return found
