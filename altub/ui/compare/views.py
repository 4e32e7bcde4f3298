"""Charts and tables of the Compare tab: pure functions from runs to HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from altub.evaluation.compare import (
    COMPARED,
    curve_stats,
    differing_settings,
    group_by_settings,
    labels,
    mean_and_band,
    sample_std,
)
from altub.runs.run import Run
from altub.training.config import TrainingConfig
from altub.training.records import EpochRecord, curve
from altub.ui.html.charts import Area, Line, empty_chart, line_chart
from altub.ui.html.zoom import Range
from altub.ui.watch import stamp

__all__ = [
    "MOST_LINES",
    "NONE_CHOSEN",
    "NO_RUNS",
    "Compared",
    "Entry",
    "chart",
    "compare",
    "csv_link",
    "events_of",
    "settings_table",
    "stats_table",
]

NO_RUNS = (
    '<div class="nothing-yet"><b>Nothing to compare yet</b>Train two runs or more in the Train tab, with AltUB and '
    "without it or with another seed; they appear here automatically.</div>"
)
NONE_CHOSEN = '<div class="nothing-yet"><b>No run chosen</b>Choose runs above to see their curves on one axis.</div>'

MOST_LINES = 12
# The first is a plain line; each of eight is told from the others without its colour.
DASHES = ("", "9 4", "2 4", "11 4 2 4", "16 5", "5 3 2 3 2 3", "5 3", "20 4 4 4")


@dataclass(frozen=True)
class Entry:
    """One run to compare. state: in a word, as the status says it."""

    id: str
    config: TrainingConfig
    events: Sequence[EpochRecord]
    state: str
    progress: str


@dataclass(frozen=True)
class Compared:
    """What one line of the chart and one row of the table stand for: a run, or runs that differ in the seed alone."""

    number: int
    label: str
    members: tuple[Entry, ...]

    @property
    def colour(self) -> str:
        # The style sheet puts its number at the end of each line, by the words of the colour: those of the first eight.
        again = ", gray" if self.number > len(DASHES) else ""
        return f"var(--cmp-{(self.number - 1) % len(DASHES) + 1}{again})"

    @property
    def dash(self) -> str:
        index = self.number - 1
        return DASHES[(index + index // len(DASHES)) % len(DASHES)]

    @property
    def is_group(self) -> bool:
        return len(self.members) > 1


def compare(entries: Sequence[Entry], seeds_together: bool) -> list[Compared]:
    """Runs, or groups of those with the same settings except for the seed, each with a number and a short name."""
    configs = [entry.config for entry in entries]
    groups = group_by_settings(configs) if seeds_together else [[index] for index in range(len(entries))]
    firsts = [group[0] for group in groups]
    names = labels(
        [configs[k] for k in firsts], [entries[k].id for k in firsts], without=["seed"] if seeds_together else []
    )
    return [
        Compared(number, name, tuple(entries[k] for k in group))
        for number, (name, group) in enumerate(zip(names, groups, strict=True), 1)
    ]


def chart(compared: Sequence[Compared], metric: str, zoom: Range | None = None, log: bool = False) -> str:
    """The curves of one metric on one axis, with the legend below its title.

    Args:
        zoom: first and last epoch to show.
        log: logarithmic axis.
    """
    title = COMPARED[metric].title
    lines, areas = [], []
    for item in compared[:MOST_LINES]:
        curves = [curve(entry.events, metric) for entry in item.members]
        rows = mean_and_band(curves)
        if not rows:
            continue
        lines.append(Line(f"{item.number} {item.label}", item.colour, [(x, mean) for x, mean, _, _ in rows], item.dash))
        if sum(map(bool, curves)) > 1:
            areas.append(Area(item.label, item.colour, [(x, low, high) for x, _, low, high in rows], 0.13))
    if not lines:
        any_epoch = any(entry.events for item in compared for entry in item.members)
        text = "These runs have no labelled test images." if any_epoch else "The first values appear after an epoch."
        return empty_chart(title, text)
    higher = COMPARED[metric].higher_is_better
    note = (
        "on the test set, which is never trained on; 1 is perfect" if higher else "nats per dimension; lower is better"
    )
    if areas:
        note += "; line: mean over seeds, band: lowest to highest"
    drawn = line_chart(title, lines, areas=areas, x_range=zoom, log=log, robust=not higher, note=note, digits=4)
    return drawn + _legend(compared[:MOST_LINES]) + _not_drawn(compared)


def _legend(compared: Sequence[Compared]) -> str:
    return (
        '<div class="key">' + "".join(f"<span>{_mark(item)}{escape(item.label)}</span>" for item in compared) + "</div>"
    )


def _not_drawn(compared: Sequence[Compared]) -> str:
    if len(compared) <= MOST_LINES:
        return ""
    return (
        f'<p class="hint" role="note">The chart draws the first {MOST_LINES} of {len(compared)} lines; the table below '
        "has all of them. Remove runs or turn on Group seeds to see the rest.</p>"
    )


def _mark(item: Compared) -> str:
    """The line as it is drawn, and its number."""
    return (
        f'<svg class="mark" viewBox="0 0 34 8" aria-hidden="true"><line x1="0" y1="4" x2="34" y2="4" '
        f'stroke="{item.colour}" stroke-width="2.5" stroke-dasharray="{item.dash}"/></svg><b>{item.number}</b> '
    )


def stats_table(compared: Sequence[Compared], metric: str) -> str:
    """Last, best, gap and spread of each line."""
    together = any(item.is_group for item in compared)
    heads = [("", ""), ("Run", "")]
    heads += [("Seeds", "Runs that have the same settings except for the seed")] if together else []
    heads += [
        ("Epoch", "Epochs trained, and the state"),
        ("Last", "The last epoch" + (", mean over the seeds" if together else "")),
        *([("± seeds", "Sample standard deviation of the last epoch over the seeds")] if together else []),
        ("Best", "The best epoch, chosen on the test set and therefore optimistic"),
        ("Gap", "From the best epoch to the last"),
        ("Spread", "Sample standard deviation over the last third of the epochs: remaining variation"),
    ]
    rows = []
    for item in compared:
        found = [curve_stats(curve(entry.events, metric), metric) for entry in item.members]
        stats = [one for one in found if one]
        cells = [f"<td>{_mark(item)}</td>", f'<th scope="row">{escape(item.label)}</th>']
        cells += [f"<td>{len(item.members)}</td>"] if together else []
        cells.append(f"<td>{escape(_progress(item))}</td>")
        cells.append(_cell(_mean([one.last for one in stats])))
        cells += [_cell(sample_std([one.last for one in stats]))] if together else []
        epoch = f" <small>epoch {stats[0].best_epoch}</small>" if len(stats) == 1 else ""
        cells.append(_cell(_mean([one.best for one in stats]), epoch))
        cells.append(_cell(_mean([one.gap for one in stats])))
        cells.append(_cell(_mean([one.spread for one in stats if one.spread is not None])))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f'<th scope="col" title="{escape(hint)}">{name}</th>' for name, hint in heads)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Results"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _progress(item: Compared) -> str:
    words = list(dict.fromkeys(entry.progress for entry in item.members))
    return words[0] if len(words) == 1 else f"{words[0]} and others"


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _cell(value: float | None, more: str = "") -> str:
    return f"<td>{'-' if value is None else f'{value:.4f}'}{more}</td>"


def settings_table(compared: Sequence[Compared]) -> str:
    """Only the settings in which the runs differ, a column for each line of the chart."""
    if len(compared) < 2:
        return '<p class="empty-line">Choose two runs or more: what tells them apart is listed here.</p>'
    differing = differing_settings([item.members[0].config for item in compared])
    if any(item.is_group for item in compared):
        differing.pop("seed", None)
    differing.pop("device", None)
    if not differing:
        return '<p class="empty-line">These runs have the same settings.</p>'
    head = "".join(f'<th scope="col" title="{escape(item.label)}">{_mark(item)}</th>' for item in compared)
    cells = {key: "".join(f"<td>{escape(value)}</td>" for value in values) for key, values in differing.items()}
    rows = "".join(f'<tr><th scope="row"><code>{escape(key)}</code></th>{row}</tr>' for key, row in cells.items())
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="What differs"><table class="settings">'
        f'<thead><tr><th scope="col">Setting</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def csv_link(entries: Sequence[Entry]) -> str:
    """All metrics of the chosen runs as a file within the page itself: nothing is left on the server."""
    from altub.evaluation.study.results import rows_to_csv

    configs = [entry.config for entry in entries]
    differing = differing_settings(configs)
    rows = []
    for index, entry in enumerate(entries):
        row: dict[str, Any] = {"run": entry.id, "category": entry.config.category, "seed": entry.config.seed}
        row |= {"state": entry.state, "epochs": len(entry.events)}
        for metric in COMPARED:
            stats = curve_stats(curve(entry.events, metric), metric)
            for name in ("last", "best", "best_epoch", "gap", "spread"):
                row[f"{metric}_{name}"] = getattr(stats, name) if stats else None
        row |= {key: values[index] for key, values in differing.items() if key not in row}
        rows.append(row)
    data = base64.b64encode(rows_to_csv(rows).encode()).decode()
    return f'<a class="download" download="compare.csv" href="data:text/csv;base64,{data}">Table (CSV)</a>'


def events_of(run: Run) -> list[EpochRecord]:
    """The run's epochs, read again only when there are new ones."""
    return _events(run.path, stamp(run.path / "events.jsonl"))


@lru_cache(maxsize=96)
def _events(path: Path, mark: tuple[int, int]) -> list[EpochRecord]:
    return Run(path).events(start=True)
