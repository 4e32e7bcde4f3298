"""The chart of detectability: probability of detection over the size of a defect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from altub.plots.charts import plain_figure
from altub.plots.palette import DEFECT, FLOW_PHASE, inks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PodLine", "detectability_figure"]

_DASHES = ((0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (1, 1)), (0, (10, 3)))
_GROUPS = 8  # of sizes, whose observed shares are drawn as points


@dataclass(frozen=True, eq=False)
class PodLine:
    """A curve of the chart.

    Attributes:
        sizes: (m,), ascending.
        pod: (m,) in 0 to 1.
        low, high: bounds of it (m,); None: no band is drawn.
    """

    sizes: np.ndarray
    pod: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def detectability_figure(
    tried: tuple[np.ndarray, np.ndarray],
    line: PodLine | None,
    kinds: Mapping[str, PodLine],
    marks: Mapping[str, float],
    real: tuple[Sequence[float], Sequence[bool]] | None = None,
    *,
    unit: str = "px",
    dark: bool = False,
) -> Figure:
    """Probability of detection over size, with its band; points are observed shares, ticks real defects.

    Args:
        tried: sizes and hits of all synthetic defects.
        line: of all kinds together; None: there is no curve.
        kinds: a thin line for each kind of defect.
        marks: sizes to point out by their names, such as a90.
        real: sizes and hits of real defects: ticks at the top for hits, at the bottom for misses.
        unit: of the sizes.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    ink, faint = inks(dark)
    figure, axes = plain_figure((760, 420), dark)
    for (name, one), dashes in zip(kinds.items(), _DASHES * len(kinds), strict=False):
        axes.plot(one.sizes, one.pod, color=faint, linestyle=dashes, linewidth=1.1, label=name)
    if line is not None:
        if line.low is not None and line.high is not None:
            axes.fill_between(line.sizes, line.low, line.high, color=FLOW_PHASE, alpha=0.18, linewidth=0)
        axes.plot(line.sizes, line.pod, color=FLOW_PHASE, linewidth=2.2, label="all synthetic")
    sizes, hits = (np.asarray(values) for values in tried)
    order = np.array_split(np.argsort(sizes, kind="stable"), min(_GROUPS, max(len(sizes) // 5, 1)))
    points = [(float(np.exp(np.log(sizes[group]).mean())), float(hits[group].mean())) for group in order if len(group)]
    axes.plot(*zip(*points, strict=True), "o", color=FLOW_PHASE, markersize=5, label="observed share")
    if real is not None and len(real[0]):
        found = np.asarray(real[1], dtype=bool)
        for level, chosen in ((1.04, found), (-0.04, ~found)):
            places = np.asarray(real[0])[chosen]
            axes.plot(places, np.full(len(places), level), "|", color=DEFECT, markersize=9, clip_on=False)
        axes.plot([], [], "|", color=DEFECT, markersize=9, label="real: found above, missed below")
    for name, size in marks.items():
        axes.axvline(size, color=ink, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.annotate(
            name, (size, 0.5), (3, 0), textcoords="offset points", color=ink, fontsize=9, rotation=90, va="center"
        )
    axes.axhline(0.9, color=faint, linewidth=0.7, alpha=0.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = float(sizes.min()), float(sizes.max())
    if real is not None and len(real[0]):
        low, high = min(low, min(real[0])), max(high, max(real[0]))
    ticks = [step * 10.0**power for power in range(-3, 6) for step in (1, 2, 5)]
    axes.set_xticks([tick for tick in ticks if 0.99 * low <= tick <= 1.01 * high])
    axes.set_xlim(low / 1.05, high * 1.05)
    axes.set_ylim(-0.08, 1.08)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 0.9, 1], ["0", "", "0.5", "", "0.9", "1"])
    axes.set_xlabel(f"size of the defect ({unit}): diameter of the disk of the same area")
    axes.set_ylabel("probability of detection")
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 4, "frameon": False, "borderpad": 0}
    axes.legend(labelcolor=ink, fontsize=8.5, **place)
    return figure
