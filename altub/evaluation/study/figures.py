"""Figures of a study for paper and README: AUROC over the epochs from 0 on, band over seeds; and the base's drift."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from altub.evaluation.compare import mean_and_band
from altub.evaluation.study.results import StudyResults, update_order
from altub.files import write_atomically
from altub.flows.registry import flow_title
from altub.metrics import MAIN_METRICS, METRICS
from altub.plots import BASE_PHASE, DEFECT, FLOW_PHASE, GOOD, HELD_OUT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["write_figures"]

Curves = dict[str, list[list[tuple[int, float]]]]  # by update, one list of points per seed
Panels = dict[str, Curves]  # by the settings that the study varies, in words

INK, FAINT = "#1F2937", "#6B7280"
# Okabe and Ito's palette; every line is also told apart by its dashes. The plain flow is always grey and dashed.
_STYLES = (
    (FLOW_PHASE, "-"),
    (DEFECT, (0, (7, 2))),
    (GOOD, (0, (7, 2, 1.5, 2))),
    ("#CC79A7", (0, (2, 1.2))),
    (BASE_PHASE, (0, (11, 2, 2, 2))),
    (HELD_OUT, (0, (4, 1.5))),
)
_PLAIN = ("#4B5563", (0, (3.5, 2)))
_NAMES = {"off": "plain flow", "gradient": "AltUB, gradient", "moments": "AltUB, moments"}


def write_figures(results: StudyResults, study_dir: Path) -> list[Path]:
    """figure-<category>-<flow>-<metric>.png and .svg for every metric that was measured, and for the drift."""
    written: list[Path] = []
    pairs = dict.fromkeys((category, flow) for category, flow, *_ in results.curves)
    for category, flow in pairs:

        def of(name: str, category: str = category, flow: str = flow) -> Panels:
            found: Panels = {}
            for (of_category, of_flow, variant, update, what), lines in results.curves.items():
                if (of_category, of_flow, what) == (category, flow, name):
                    found.setdefault(variant, {})[update] = lines
            return {
                variant: dict(sorted(curves.items(), key=lambda item: update_order(item[0])))
                for variant, curves in found.items()
            }

        title = f"{category}, {flow_title(flow)}"
        figures = {metric: _metric_figure(title, metric, of(metric)) for metric in MAIN_METRICS if of(metric)}
        if any(update != "off" for curves in of("drift_mean").values() for update in curves):
            figures["drift"] = _drift_figure(title, of("drift_mean"), of("drift_std"))
        for name, figure in figures.items():
            written += _save(figure, study_dir / f"figure-{_file_name(category)}-{_file_name(flow)}-{name}")
    return written


def _metric_figure(title: str, metric: str, panels: Panels) -> Figure:
    """A panel for each choice of the varied settings, all on one scale."""
    figure, grid = _figure(1, len(panels))
    for axes, (variant, curves) in zip(grid[0], panels.items(), strict=True):
        _draw(axes, curves, _updates(panels))
        axes.set_title(variant, fontsize=9, color=INK)
        axes.set_ylim(*_bulk(panels))
        _name_start_below(axes, curves)
    grid[0][0].set_ylabel(METRICS[metric].title)
    _finish(figure, title, panels)
    return figure


def _drift_figure(title: str, means: Panels, stds: Panels) -> Figure:
    """Mean and standard deviation beside each other, one row for each choice of the varied settings."""
    figure, grid = _figure(len(means), 2)
    for row, variant in zip(grid, means, strict=True):
        for axes, panels, name in zip(row, (means, stds), ("median |μ|", "median |σ − 1|"), strict=True):
            curves = panels.get(variant, {})
            start = {update: [[(0, 0.0), *line] for line in lines] for update, lines in curves.items()}  # N(0, I)
            _draw(axes, start, _updates(means))
            axes.set_ylim(bottom=0 if any(y for lines in start.values() for line in lines for _, y in line) else None)
            axes.set_ylabel(f"{name} of the base")
        row[0].set_title(variant, fontsize=9, color=INK, loc="left")
    _finish(figure, title, means)
    return figure


def _updates(panels: Panels) -> list[str]:
    """The base updates of all panels, each of which has one colour everywhere."""
    return sorted({update for curves in panels.values() for update in curves}, key=update_order)


def _draw(axes: Axes, curves: Curves, updates: Sequence[str]) -> None:
    moved = [update for update in updates if update != "off"]
    for update, lines in curves.items():
        colour, dashes = _PLAIN if update == "off" else _STYLES[moved.index(update) % len(_STYLES)]
        rows = mean_and_band(lines)
        if not rows:
            continue
        epochs, mean, low, high = (np.array(column) for column in zip(*rows, strict=True))
        if len(lines) > 1:
            axes.fill_between(epochs, low, high, color=colour, alpha=0.16, linewidth=0)
            for edge in (low, high):  # so that overlapping bands can be told apart
                axes.plot(epochs, edge, color=colour, alpha=0.45, linewidth=0.6)
        marker = "o" if len(epochs) < 4 else ""
        axes.plot(
            epochs,
            mean,
            color=colour,
            linestyle=dashes,
            linewidth=1.9,
            label=_name(update),
            marker=marker,
            markersize=3.5,
        )


def _name_start_below(axes: Axes, curves: Curves) -> None:
    """Writes down epoch 0, which is alike in all updates, where it lies below the panel."""
    start = [y for lines in curves.values() for line in lines for x, y in line if x == 0]
    bottom, _ = axes.get_ylim()
    if start and max(start) < bottom:
        place = {"textcoords": "offset points", "xytext": (4, 4), "fontsize": 8, "color": INK}
        axes.annotate(f"↓ {sum(start) / len(start):.3f}", (0, bottom), **place)


def _name(update: str) -> str:
    word, _, rest = update.partition(":")
    name = _NAMES.get(word, f"AltUB, {word}")
    details = rest.replace("interval_unit=epoch", "by epoch").replace("_", " ").replace("=", " ").replace(":", ", ")
    return f"{name} ({details})" if details else name


def _finish(figure: Figure, title: str, panels: Panels) -> None:
    """Title, legend above the panels, and a line that says what line and band are."""
    named = {name: line for axes in figure.axes for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    order = [_name(update) for update in _updates(panels)]
    names = [name for name in order if name in named]
    handles = [named[name] for name in names]
    figure.legend(
        handles,
        names,
        title=title,
        title_fontproperties={"weight": "bold", "size": 10.5},
        alignment="left",
        loc="outside upper left",
        ncols=min(len(names), 3),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=3.4,
        borderaxespad=0,
    )
    counts = sorted({len(lines) for curves in panels.values() for lines in curves.values()})
    words = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    seeds = "one seed" if counts == [1] else f"line: mean of {words} seeds, band: lowest to highest"
    figure.supxlabel(f"epoch, 0: before training   ({seeds})", fontsize=9.5, color=INK)


def _figure(rows: int, columns: int) -> tuple[Figure, Sequence[Sequence[Axes]]]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    width, height = (6.6, 3.7) if columns == 1 else (3.8 * columns, 3.4)
    figure = Figure(figsize=(width, 0.9 + (height - 0.9) * rows), dpi=300, layout="constrained")
    figure.patch.set_facecolor("white")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(colors=INK, labelsize=9, color=FAINT)
        axes.grid(axis="y", color=FAINT, alpha=0.22, linewidth=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.label.set(color=INK, fontsize=10)
        axes.margins(x=0.015)
    return figure, grid


def _bulk(panels: Panels) -> tuple[float | None, float | None]:
    """Where the later two thirds of the epochs lie, and some room: the first rise would hide the variation."""
    points = [point for curves in panels.values() for lines in curves.values() for line in lines for point in line]
    values = [y for _, y in points]
    last = max(x for x, _ in points)
    late = [y for x, y in points if 3 * x > last] or values
    low, high = min(late), max(values)
    room = max(high - low, 0.002)
    bottom = max(min(values), low - 0.5 * room) - 0.05 * room
    return bottom, min(high + 0.06 * room, 1 + 0.02 * room)


def _save(figure: Figure, stem: Path) -> list[Path]:
    paths = []
    for ending in ("png", "svg"):
        buffer = BytesIO()
        figure.savefig(buffer, format=ending, metadata={"Date": None} if ending == "svg" else None)
        path = stem.with_name(f"{stem.name}.{ending}")
        write_atomically(path, buffer.getvalue())
        paths.append(path)
    return paths


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "_." else "-" for letter in text)
