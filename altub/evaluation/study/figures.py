"""Figures of a study for paper and README: AUROC over the epochs with the band over seeds, and the base's drift."""

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

        def of(name: str, category: str = category, flow: str = flow) -> Curves:
            found = {
                key[2]: lines for key, lines in results.curves.items() if key[:2] + key[3:] == (category, flow, name)
            }
            return dict(sorted(found.items(), key=lambda item: update_order(item[0])))

        title = f"{category}, {flow_title(flow)}"
        figures = {metric: _metric_figure(title, metric, of(metric)) for metric in MAIN_METRICS if of(metric)}
        if any(update != "off" for update in of("drift_mean")):
            figures["drift"] = _drift_figure(title, of("drift_mean"), of("drift_std"))
        for name, figure in figures.items():
            written += _save(figure, study_dir / f"figure-{_file_name(category)}-{_file_name(flow)}-{name}")
    return written


def _metric_figure(title: str, metric: str, curves: Curves) -> Figure:
    figure, (axes,) = _figure(1)
    _draw(axes, curves)
    axes.set_ylabel(METRICS[metric].title)
    axes.set_ylim(*_bulk(curves))
    _finish(figure, axes, title, curves)
    return figure


def _drift_figure(title: str, means: Curves, stds: Curves) -> Figure:
    figure, panels = _figure(2)
    for axes, curves, name in zip(panels, (means, stds), ("median |μ|", "median |σ − 1|"), strict=True):
        start = {update: [[(0, 0.0), *line] for line in lines] for update, lines in curves.items()}  # N(0, I)
        _draw(axes, start)
        axes.set_ylim(bottom=0 if any(y for lines in start.values() for line in lines for _, y in line) else None)
        axes.set_ylabel(f"{name} of the base")
    _finish(figure, panels[0], title, means)
    return figure


def _draw(axes: Axes, curves: Curves) -> None:
    moved = [update for update in curves if update != "off"]
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


def _name(update: str) -> str:
    word, _, rest = update.partition(":")
    name = _NAMES.get(word, f"AltUB, {word}")
    details = rest.replace("interval_unit=epoch", "by epoch").replace("_", " ").replace("=", " ").replace(":", ", ")
    return f"{name} ({details})" if details else name


def _finish(figure: Figure, axes: Axes, title: str, curves: Curves) -> None:
    """Title, legend above the panels, and a line that says what line and band are."""
    handles, names = axes.get_legend_handles_labels()
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
    counts = sorted({len(lines) for lines in curves.values()})
    words = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    seeds = "one seed" if counts == [1] else f"line: mean of {words} seeds, band: lowest to highest"
    figure.supxlabel(f"epoch   ({seeds})", fontsize=9.5, color=INK)


def _figure(columns: int) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.6, 3.7) if columns == 1 else (7.6, 3.4), dpi=300, layout="constrained")
    figure.patch.set_facecolor("white")
    panels = figure.subplots(1, columns, squeeze=False)[0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(colors=INK, labelsize=9, color=FAINT)
        axes.grid(axis="y", color=FAINT, alpha=0.22, linewidth=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.label.set(color=INK, fontsize=10)
        axes.margins(x=0.015)
    return figure, panels


def _bulk(curves: Curves) -> tuple[float | None, float | None]:
    """Where the later two thirds of the epochs lie, and some room: the first rise would hide the variation."""
    values = [y for lines in curves.values() for line in lines for _, y in line]
    last = max(x for lines in curves.values() for line in lines for x, _ in line)
    late = [y for lines in curves.values() for line in lines for x, y in line if 3 * x > last] or values
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
