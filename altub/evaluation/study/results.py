"""What a study found: one row a run, one row for each way to train, read from the run directories alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from altub.errors import RunError
from altub.evaluation.compare import (
    COMPARED,
    CurveStats,
    curve_stats,
    differing_settings,
    drift,
    sample_std,
    update_name,
)
from altub.evaluation.study.grid import PLAIN_FLOW, RUNS
from altub.files import write_atomically, write_json
from altub.runs.run import list_runs
from altub.training.config import TrainingConfig
from altub.training.records import Curve, curve
from altub.training.schedule import VARIANTS

__all__ = ["RunResult", "StudyResults", "Summary", "collect_results", "rows_to_csv", "update_order", "write_results"]

TEST_METRICS = tuple(name for name in COMPARED if name != "held_out")

#: How the numbers are to be read; goes into results.json.
DEFINITIONS = {
    "last": "value of the last epoch",
    "best": "best value of any epoch, each metric for itself: chosen on the test set and therefore optimistic",
    "gap": "best minus last",
    "spread": "sample standard deviation over the last third of the epochs",
    "std_last": "sample standard deviation of `last` over the seeds",
    "ratio": "the same number divided by that of the plain flow (update off)",
    "held_out": "negative log-likelihood of held-out good images at the last epoch, nats per dimension",
    "drift": "the median channel's |mu| and |sigma - 1| at the last epoch, averaged over the feature scales",
}


@dataclass(frozen=True)
class RunResult:
    """One run. stats: by metric; lacks what was not measured. message: why a run failed or was stopped."""

    run: str
    category: str
    flow: str
    update: str
    seed: int
    state: str
    epoch: int
    epochs: int
    stats: dict[str, CurveStats]
    held_out: float | None
    drift_mean: float | None
    drift_std: float | None
    seconds: float
    message: str

    @property
    def is_finished(self) -> bool:
        return self.state == "finished"

    def row(self) -> dict[str, Any]:
        """Flat, as in results.csv."""
        row: dict[str, Any] = {
            key: getattr(self, key) for key in ("run", "category", "flow", "update", "seed", "state", "epoch", "epochs")
        }
        for metric in TEST_METRICS:
            stats = self.stats.get(metric)
            for name in ("last", "best", "best_epoch", "gap", "spread"):
                row[f"{metric}_{name}"] = getattr(stats, name) if stats else None
        row |= {key: getattr(self, key) for key in ("held_out", "drift_mean", "drift_std", "seconds")}
        return {**row, "message": self.message}


@dataclass(frozen=True)
class MetricSummary:
    """mean_*: over the seeds. ratio_*: to the plain flow's, None where there is none to compare with."""

    mean_last: float
    std_last: float | None
    mean_best: float
    mean_gap: float
    mean_spread: float | None
    ratio_std: float | None = None
    ratio_spread: float | None = None


@dataclass(frozen=True)
class Summary:
    """One way to train, over its finished seeds."""

    category: str
    flow: str
    update: str
    seeds: list[int]
    metrics: dict[str, MetricSummary]
    held_out: float | None
    drift_mean: float | None
    drift_std: float | None
    seconds: float

    def row(self) -> dict[str, Any]:
        """Flat, as in summary.csv."""
        row: dict[str, Any] = {"category": self.category, "flow": self.flow, "update": self.update}
        row["runs"] = len(self.seeds)
        for metric in TEST_METRICS:
            for name in MetricSummary.__dataclass_fields__:
                row[f"{metric}_{name}"] = getattr(self.metrics.get(metric), name, None)
        return row | {key: getattr(self, key) for key in ("held_out", "drift_mean", "drift_std", "seconds")}


@dataclass(frozen=True)
class StudyResults:
    """notes: what a reader should know before comparing. curves: of the finished runs, for the figures, by (category,
    flow, update, metric or "drift_mean" or "drift_std"), one list of points per seed."""

    runs: list[RunResult]
    summaries: list[Summary]
    notes: list[str]
    curves: dict[tuple[str, str, str, str], list[Curve]]

    @property
    def failed(self) -> list[RunResult]:
        return [run for run in self.runs if run.state in ("failed", "interrupted")]


def collect_results(study_dir: Path) -> StudyResults:
    """Reads every run of the study.

    Raises:
        RunError: there is none.
    """
    results: list[RunResult] = []
    configs: list[TrainingConfig] = []
    curves: dict[tuple[str, str, str, str], list[Curve]] = {}
    notes: list[str] = []
    for run in list_runs(study_dir / RUNS):
        try:
            config = run.config
        except RunError as error:
            notes.append(f"{error} Skipped.")
            continue
        status, records = run.status, run.events(start=True)
        flow, update = getattr(config.flow, "kind", PLAIN_FLOW), update_name(config.base)
        lines = {name: curve(records, name) for name in COMPARED}
        lines |= {"drift_mean": drift(records, "mean"), "drift_std": drift(records, "std")}
        result = RunResult(
            run=run.id,
            category=config.category,
            flow=flow,
            update=update,
            seed=config.seed,
            state=status.state,
            epoch=status.epoch,
            epochs=config.epochs,
            stats={name: stats for name in COMPARED if (stats := curve_stats(lines[name], name))},
            held_out=_last(lines["held_out"]),
            drift_mean=_last(lines["drift_mean"]),
            drift_std=_last(lines["drift_std"]),
            seconds=round(status.seconds, 1),
            message=status.message if status.state != "finished" else "",
        )
        results.append(result)
        configs.append(config)
        if result.is_finished:
            for name, points in lines.items():
                if points:
                    curves.setdefault((config.category, flow, update, name), []).append(points)
    if not results:
        raise RunError(
            f"There are no runs in {study_dir / RUNS}: start the study first, with --categories and --seeds."
        )
    order = sorted(range(len(results)), key=lambda k: _place(results[k]))
    results, configs = [results[k] for k in order], [configs[k] for k in order]
    return StudyResults(results, _summaries(results), notes + _warnings(results, configs), curves)


def write_results(results: StudyResults, study_dir: Path) -> list[Path]:
    """results.csv, summary.csv and results.json in the study's folder."""
    written = {
        "results.csv": rows_to_csv([run.row() for run in results.runs]),
        "summary.csv": rows_to_csv([summary.row() for summary in results.summaries]),
    }
    for name, text in written.items():
        write_atomically(study_dir / name, text.encode())
    write_json(study_dir / "results.json", as_json(results))
    return [study_dir / name for name in (*written, "results.json")]


def as_json(results: StudyResults) -> dict[str, Any]:
    """What results.json holds and `--json` prints."""
    return {
        "definitions": DEFINITIONS,
        "notes": results.notes,
        "runs": [run.row() for run in results.runs],
        "summary": [asdict(summary) for summary in results.summaries],
    }


def rows_to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """CSV whose whole numbers stay whole, and with no cell that a spreadsheet runs."""
    from altub.inference.table import table_to_csv

    if not rows:
        return ""

    def cell(value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    return table_to_csv([{key: cell(value) for key, value in row.items()} for row in rows], list(rows[0]))


def update_order(update: str) -> tuple[int, str]:
    """The plain flow first, then the gradient's variants, then the moments."""
    names = ("off", "gradient", *VARIANTS, "moments")
    name = update.partition(":")[0]
    return names.index(name) if name in names else len(names), update


def _place(result: RunResult) -> tuple[Any, ...]:
    return result.category, result.flow, update_order(result.update), result.seed


def _last(points: Sequence[tuple[int, float]]) -> float | None:
    return points[-1][1] if points else None


def _summaries(results: Sequence[RunResult]) -> list[Summary]:
    groups: dict[tuple[str, str, str], list[RunResult]] = {}
    for result in results:
        if result.is_finished:
            groups.setdefault((result.category, result.flow, result.update), []).append(result)
    plain = {key[:2]: _of_metrics(runs, None) for key, runs in groups.items() if key[2] == "off"}
    return [
        Summary(
            *key,
            seeds=[run.seed for run in runs],
            metrics=_of_metrics(runs, plain.get(key[:2])),
            held_out=_mean([run.held_out for run in runs]),
            drift_mean=_mean([run.drift_mean for run in runs]),
            drift_std=_mean([run.drift_std for run in runs]),
            seconds=round(statistics.fmean(run.seconds for run in runs), 1),
        )
        for key, runs in groups.items()
    ]


def _of_metrics(runs: Sequence[RunResult], plain: dict[str, MetricSummary] | None) -> dict[str, MetricSummary]:
    found = {}
    for metric in TEST_METRICS:
        stats = [run.stats[metric] for run in runs if metric in run.stats]
        if not stats:
            continue
        std, spread = sample_std([one.last for one in stats]), _mean([one.spread for one in stats])
        beside = plain.get(metric) if plain else None
        found[metric] = MetricSummary(
            mean_last=statistics.fmean(one.last for one in stats),
            std_last=std,
            mean_best=statistics.fmean(one.best for one in stats),
            mean_gap=statistics.fmean(one.gap for one in stats),
            mean_spread=spread,
            ratio_std=_ratio(std, beside and beside.std_last),
            ratio_spread=_ratio(spread, beside and beside.mean_spread),
        )
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _ratio(value: float | None, plain: float | None) -> float | None:
    return value / plain if value is not None and plain else None


def _warnings(results: Sequence[RunResult], configs: Sequence[TrainingConfig]) -> list[str]:
    """Where a comparison would not be one: other settings than the base's differ, or seeds are missing."""
    notes = []
    groups: dict[tuple[str, str], list[int]] = {}
    for index, result in enumerate(results):
        groups.setdefault((result.category, result.flow), []).append(index)
    for (category, flow), indices in groups.items():
        begun = [k for k in indices if results[k].epoch]  # "auto" has come to mean something by then
        differing = differing_settings([configs[k] for k in begun])
        names = [key for key in differing if not key.startswith("base.") and key not in ("seed", "device")]
        if names:
            notes.append(f"The runs of {category}, {flow}, differ in more than the base: {', '.join(names)}.")
        seeds: dict[str, set[int]] = {}
        for k in indices:
            seeds.setdefault(results[k].update, set())
            if results[k].is_finished:
                seeds[results[k].update].add(results[k].seed)
        if len({frozenset(values) for values in seeds.values()}) > 1:
            counts = ", ".join(f"{update}: {len(values)}" for update, values in seeds.items())
            notes.append(f"The finished seeds of {category}, {flow}, are not the same for every update ({counts}).")
    return notes
