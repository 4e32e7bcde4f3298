"""Charts of the labels as SVG: score distributions, ROC and precision over recall with bands and the threshold on them.

Pure functions from numbers to a string; colours by style sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from altub.labels.curves import Band
from altub.ui.html.charts import nice_ticks, thin_out

__all__ = ["curve_chart", "score_chart"]

WIDTH, HEIGHT = 340, 250
LEFT, TOP, RIGHT, BOTTOM = 42, 14, 12, 40  # room around the panel
MOST_BINS = 36
ROW, GAP, CHARACTER = 14, 5, 6.8  # height of a row of names, their distance from lines, width of a letter at most
ACROSS, DOWN = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


def score_chart(good: np.ndarray, defect: np.ndarray, thresholds: Sequence[tuple[str, float]]) -> str:
    """Histograms of the scores of good (upwards) and of defective labels (downwards), each as shares of its own.

    Args:
        good, defect: scores, (n,).
        thresholds: (name, value); drawn as lines.
    """
    everything = np.concatenate([good, defect, [value for _, value in thresholds]])
    low, high = float(everything.min()), float(everything.max())
    span = (high - low) or max(abs(high), 1.0) * 0.1
    low, high = low - 0.04 * span, high + 0.04 * span
    bins = int(np.clip(2 * np.sqrt(good.size + defect.size), 8, MOST_BINS))
    edges = np.linspace(low, high, bins + 1)

    def x(value: float) -> float:
        return LEFT + ACROSS * (value - low) / (high - low)

    middle, parts = TOP + DOWN / 2, []
    for kind, scores, sign in (("good", good, -1), ("defect", defect, 1)):
        counts, _ = np.histogram(scores, edges)
        tallest = counts.max() or 1
        for a, b, count in zip(edges[:-1], edges[1:], counts, strict=True):
            if not count:
                continue
            height = (DOWN / 2 - 4) * count / tallest
            top = middle - height if sign < 0 else middle
            parts.append(
                f'<rect class="{kind}" x="{x(a) + 0.5:.1f}" y="{top:.1f}" width="{max(x(b) - x(a) - 1, 1):.1f}" '
                f'height="{height:.1f}"><title>{count} {kind}, {a:.3g} to {b:.3g}</title></rect>'
            )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{middle}" y2="{middle}"/>')
    for row, (name, at, side) in enumerate(_flags([(name, x(value)) for name, value in thresholds])):
        top = TOP + ROW * row
        parts.append(
            f'<line class="threshold" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{TOP + DOWN}"/>'
            f'<text x="{at + (-GAP if side == "end" else GAP):.1f}" y="{top + 10}" text-anchor="{side}" '
            f'class="name">{escape(name)}</text>'
        )
    for tick in nice_ticks(low, high):
        parts.append(f'<text x="{x(tick):.1f}" y="{TOP + DOWN + 15}" text-anchor="middle">{_tick(tick)}</text>')
    parts.append(
        f'<text x="{LEFT - 6}" y="{TOP + DOWN / 4}" text-anchor="end">good</text>'
        f'<text x="{LEFT - 6}" y="{TOP + 3 * DOWN / 4}" text-anchor="end">defect</text>'
    )
    words = f"Scores of {good.size} good and {defect.size} defective labels, from {low:.3g} to {high:.3g}"
    return _figure("Scores", f"{good.size} good, {defect.size} defective", words, parts, "score")


def _flags(lines: list[tuple[str, float]]) -> list[tuple[str, float, str]]:
    """Names of at most two vertical lines as flags, the top one first: (name, x, "start" for a flag to the right).

    Each name has a row of its own, where its line begins. Flags to one side lie such that the line of a lower one is
    not under the name of a higher one: to the right the leftmost line is the highest. Where both names have room on no
    common side, their lines are at opposite edges, and the names lie between them.
    """
    lines = sorted(lines, key=lambda line: line[1])
    if all(x + GAP + CHARACTER * len(name) <= LEFT + ACROSS for name, x in lines):
        return [(name, x, "start") for name, x in lines]
    if all(x - GAP - CHARACTER * len(name) >= LEFT for name, x in lines):
        return [(name, x, "end") for name, x in reversed(lines)]
    return [(name, x, "end" if x > LEFT + ACROSS / 2 else "start") for name, x in lines]


def curve_chart(
    title: str, note: str, x_name: str, y_name: str, x: np.ndarray, y: Band, point: tuple[float, float] | None
) -> str:
    """A curve in the unit square with its band, and a point where the threshold is.

    Args:
        note: the area under it, for example.
        x: (k,); y: the same.
        point: (x, y); None where there is none.
    """

    def place(across: float, up: float) -> str:
        return f"{LEFT + ACROSS * across:.1f},{TOP + DOWN * (1 - up):.1f}"

    rows = thin_out(list(zip(x.tolist(), y.value.tolist(), y.low.tolist(), y.high.tolist(), strict=True)), 240)
    band = [place(a, top) for a, _, _, top in rows] + [place(a, bottom) for a, _, bottom, _ in reversed(rows)]
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        across, up = place(tick, 0).split(","), place(0, tick).split(",")
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up[1]}" y2="{up[1]}"/>'
            f'<text x="{LEFT - 6}" y="{float(up[1]) + 4:.1f}" text-anchor="end">{tick:g}</text>'
            f'<text x="{across[0]}" y="{TOP + DOWN + 15}" text-anchor="middle">{tick:g}</text>'
        )
    parts.append(f'<polygon class="band" points="{" ".join(band)}"/>')
    parts.append(f'<polyline class="curve" points="{" ".join(place(a, b) for a, b, *_ in rows)}"/>')
    words = f"{title}: {note}"
    if point is not None:
        across, up = place(*point).split(",")
        parts.append(f'<circle class="at" cx="{across}" cy="{up}" r="5"><title>the threshold</title></circle>')
        words += f"; at the threshold {x_name} {point[0]:.3f} and {y_name} {point[1]:.3f}"
    parts.append(
        f'<text class="name" transform="translate(11 {TOP + DOWN / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text>"
    )
    return _figure(title, note, words, parts, x_name)


def _figure(title: str, note: str, words: str, parts: list[str], x_name: str) -> str:
    return (
        f'<figure class="label-chart"><figcaption><b>{escape(title)}</b> {escape(note)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">{"".join(parts)}'
        f'<text class="name" x="{LEFT + ACROSS / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>'
        "</svg></figure>"
    )


def _tick(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")
