"""What a study found: one row a run, one row for each way to train, read from the run directories alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from altub.errors import RunError
from altub.evaluation.compare import (
    COMPARED,
    CurveStats,
    curve_stats,
    drift,
    sample_std,
    update_name,
)
from altub.evaluation.study.grid import RUNS
from altub.evaluation.study.variants import find_variants, value_order, variant_words, with_variant
from altub.files import write_atomically, write_json
from altub.runs.run import list_runs
from altub.training.config import TrainingConfig
from altub.training.records import Curve, curve
from altub.training.schedule import VARIANTS

__all__ = [
    "NO_FLOW",
    "RunResult",
    "StudyResults",
    "Summary",
    "collect_results",
    "rows_to_csv",
    "update_order",
    "write_results",
]

NO_FLOW = "no flow (epoch 0)"  # the "update" of what the features and their norm give before any training
TEST_METRICS = tuple(name for name in COMPARED if name != "held_out")

#: How the numbers are to be read; goes into results.json.
DEFINITIONS = {
    "start": "value of epoch 0, before any training; in the summary the rows of update " + NO_FLOW,
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
    """One run. variant: value, in words, of every further setting that the study varies, by its dotted name. stats: by
    metric; lacks what was not measured. start: values of epoch 0. message: why a run failed or was stopped."""

    run: str
    category: str
    flow: str
    update: str
    seed: int
    state: str
    epoch: int
    epochs: int
    stats: dict[str, CurveStats]
    start: dict[str, float]
    held_out: float | None
    drift_mean: float | None
    drift_std: float | None
    seconds: float
    message: str
    variant: dict[str, str] = field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        return self.state == "finished"

    def row(self) -> dict[str, Any]:
        """Flat, as in results.csv."""
        row: dict[str, Any] = {
            key: getattr(self, key) for key in ("run", "category", "flow", "update", "seed", "state", "epoch", "epochs")
        }
        row = with_variant(row, self.variant)
        for metric in TEST_METRICS:
            stats = self.stats.get(metric)
            for name in ("last", "best", "best_epoch", "gap", "spread"):
                row[f"{metric}_{name}"] = getattr(stats, name) if stats else None
            row[f"{metric}_start"] = self.start.get(metric)
        row |= {key: getattr(self, key) for key in ("held_out", "drift_mean", "drift_std", "seconds")}
        return {**row, "message": self.message}


@dataclass(frozen=True)
class MetricSummary:
    """mean_*: over the seeds. ratio_*: to the plain flow's, None where there is none to compare with."""

    mean_last: float
    std_last: float | None
    mean_best: float | None
    mean_gap: float | None
    mean_spread: float | None
    ratio_std: float | None = None
    ratio_spread: float | None = None


@dataclass(frozen=True)
class Summary:
    """One way to train, over its finished seeds; or, with update `NO_FLOW`, epoch 0 of the runs beside it.

    variant: as in `RunResult`.
    """

    category: str
    flow: str
    variant: dict[str, str]
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
        row = with_variant({**row, "runs": len(self.seeds)}, self.variant)
        for metric in TEST_METRICS:
            for name in MetricSummary.__dataclass_fields__:
                row[f"{metric}_{name}"] = getattr(self.metrics.get(metric), name, None)
        return row | {key: getattr(self, key) for key in ("held_out", "drift_mean", "drift_std", "seconds")}


CurveKey = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class StudyResults:
    """notes: what a reader should know before comparing. axes: settings that the runs of a category and flow vary,
    beside the base's. curves: of the finished runs, for the figures, by (category, flow, variant in words, update,
    metric or "drift_mean" or "drift_std"), one list of points per seed, from epoch 0 on where it was recorded."""

    runs: list[RunResult]
    summaries: list[Summary]
    notes: list[str]
    axes: list[str]
    curves: dict[CurveKey, list[Curve]]

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
    lines: list[dict[str, Curve]] = []
    notes: list[str] = []
    for run in list_runs(study_dir / RUNS):
        try:
            config = run.config
        except RunError as error:
            notes.append(f"{error} Skipped.")
            continue
        status, records = run.status, run.events(start=True)
        measured = {name: curve(records, name) for name in COMPARED}
        measured |= {"drift_mean": drift(records, "mean"), "drift_std": drift(records, "std")}
        results.append(
            RunResult(
                run=run.id,
                category=config.category,
                flow=config.flow.kind,
                update=update_name(config.base),
                seed=config.seed,
                state=status.state,
                epoch=status.epoch,
                epochs=config.epochs,
                stats={name: stats for name in COMPARED if (stats := curve_stats(measured[name], name))},
                start={name: points[0][1] for name, points in measured.items() if points and points[0][0] == 0},
                held_out=_last(measured["held_out"]),
                drift_mean=_last(measured["drift_mean"]),
                drift_std=_last(measured["drift_std"]),
                seconds=round(status.seconds, 1),
                message=status.message if status.state != "finished" else "",
            )
        )
        configs.append(config)
        lines.append(measured)
    if not results:
        raise RunError(
            f"There are no runs in {study_dir / RUNS}: start the study first, with --categories and --seeds."
        )
    begun = [result.epoch > 0 for result in results]  # "auto" has come to mean something by then
    variants = find_variants(configs, begun)
    results = [replace(result, variant=variant) for result, variant in zip(results, variants, strict=True)]
    order = sorted(range(len(results)), key=lambda k: _place(results[k]))
    curves: dict[CurveKey, list[Curve]] = {}
    for k in order:
        if results[k].is_finished:
            for name, points in lines[k].items():
                if points:
                    curves.setdefault((*_group(results[k]), name), []).append(points)
    results = [results[k] for k in order]
    return StudyResults(results, _summaries(results), notes + _warnings(results), list(variants[0]), curves)


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
    values = tuple(value_order(value) for value in result.variant.values())
    return result.category, result.flow, values, update_order(result.update), result.seed


def _group(result: RunResult) -> tuple[str, str, str, str]:
    """What the runs of several seeds have in common."""
    return result.category, result.flow, variant_words(result.variant), result.update


def _last(points: Sequence[tuple[int, float]]) -> float | None:
    return points[-1][1] if points else None


def _summaries(results: Sequence[RunResult]) -> list[Summary]:
    beside: dict[tuple[str, str, str], dict[str, list[RunResult]]] = {}  # what is compared: by update
    for result in results:
        if result.is_finished:
            *where, update = _group(result)
            beside.setdefault(tuple(where), {}).setdefault(update, []).append(result)
    found = []
    for updates in beside.values():
        plain = _of_metrics(updates["off"], None) if "off" in updates else None
        started = {run.seed: run for runs in updates.values() for run in runs if run.start}  # alike in all updates
        if started:
            found.append(_start_summary([started[seed] for seed in sorted(started)]))
        for update, runs in updates.items():
            found.append(
                Summary(
                    runs[0].category,
                    runs[0].flow,
                    runs[0].variant,
                    update,
                    seeds=[run.seed for run in runs],
                    metrics=_of_metrics(runs, plain),
                    held_out=_mean([run.held_out for run in runs]),
                    drift_mean=_mean([run.drift_mean for run in runs]),
                    drift_std=_mean([run.drift_std for run in runs]),
                    seconds=round(statistics.fmean(run.seconds for run in runs), 1),
                )
            )
    return found


def _start_summary(runs: Sequence[RunResult]) -> Summary:
    """Epoch 0: one run a seed."""
    values = {metric: [run.start[metric] for run in runs if metric in run.start] for metric in TEST_METRICS}
    return Summary(
        runs[0].category,
        runs[0].flow,
        runs[0].variant,
        NO_FLOW,
        seeds=[run.seed for run in runs],
        metrics={
            metric: MetricSummary(statistics.fmean(of), sample_std(of), None, None, None)
            for metric, of in values.items()
            if of
        },
        held_out=_mean([run.start.get("held_out") for run in runs]),
        drift_mean=_mean([run.start.get("drift_mean") for run in runs]),
        drift_std=_mean([run.start.get("drift_std") for run in runs]),
        seconds=0.0,
    )


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


def _warnings(results: Sequence[RunResult]) -> list[str]:
    """Where a comparison would not be one: seeds are missing."""
    notes = []
    groups: dict[tuple[str, str, str], dict[str, set[int]]] = {}
    for result in results:
        *where, update = _group(result)
        seeds = groups.setdefault(tuple(where), {}).setdefault(update, set())
        if result.is_finished:
            seeds.add(result.seed)
    for where, updates in groups.items():
        if len({frozenset(values) for values in updates.values()}) > 1:
            counts = ", ".join(f"{update}: {len(values)}" for update, values in updates.items())
            name = ", ".join(filter(None, where))
            notes.append(f"The finished seeds of {name}, are not the same for every update ({counts}).")
    return notes
