"""Line charts as plain HTML: redrawn in one go without a flicker, sharp at every width, dark and light by style sheet.

Lines and areas are an SVG that stretches with its panel; every text is HTML above it and keeps its size, so that a
chart reads the same on a phone and on a wall. Pure functions from numbers to a string.

Gradio's own line plot has neither the shaded spans (the base's turns) nor areas between quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from html import escape

__all__ = ["Area", "Line", "empty_chart", "line_chart", "log_ticks", "nice_ticks", "thin_out"]

MOST_POINTS = 400  # per line: more cannot be told apart on any screen
MOST_HOVERS = 200  # places where the pointer shows the numbers
SCALE = 1000  # of the SVG's coordinates


@dataclass(frozen=True)
class Line:
    """One line. points: (x, y) in order of x; a y of None leaves a gap. colour: any CSS colour. dash: SVG dashes."""

    name: str
    colour: str
    points: Sequence[tuple[float, float | None]]
    dash: str = ""


@dataclass(frozen=True)
class Area:
    """A shaded area between two values at every x. points: (x, low, high)."""

    name: str
    colour: str
    points: Sequence[tuple[float, float, float]]
    opacity: float = 0.18


@dataclass(frozen=True)
class _Frame:
    """From values to per mille of the panel, from its left and its top."""

    left: float
    right: float
    low: float
    high: float
    warp: Callable[[float], float] = float

    def x(self, value: float) -> float:
        return round(SCALE * (value - self.left) / (self.right - self.left), 1)

    def y(self, value: float) -> float:
        low, high = self.warp(self.low), self.warp(self.high)
        share = (high - self.warp(value)) / (high - low)
        return round(SCALE * min(max(share, -0.5), 1.5), 1)


@dataclass
class _Columns:
    """What the pointer shows at each x."""

    rows: dict[float, list[str]] = field(default_factory=dict)

    def add(self, x: float, text: str) -> None:
        self.rows.setdefault(x, []).append(text)


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    areas: Sequence[Area] = (),
    spans: Iterable[float] = (),
    span_name: str = "",
    span_colour: str = "var(--altub-base)",
    x_name: str = "epoch",
    y_range: tuple[float | None, float | None] = (None, None),
    x_range: tuple[float, float] | None = None,
    log: bool = False,
    robust: bool = False,
    digits: int = 3,
    note: str = "",
) -> str:
    """A chart with a legend that holds the latest values.

    Args:
        spans: x values whose surroundings (half a unit to both sides) are shaded.
        y_range: fixed ends of the axis; None takes them from the data.
        x_range: the part of the x axis that is shown; None: all of it.
        log: logarithmic y axis; symmetric around 0 where values are not positive.
        robust: the axis shows the bulk where a few values at the beginning lie far above it.
        digits: behind the decimal point, in the legend and under the pointer.
        note: a sentence below the title.
    """
    lines = [line for line in lines if any(_is_number(y) for _, y in line.points)]
    if not lines:
        return empty_chart(title, "The first values appear here after the first epoch.")
    if x_range is not None:
        lines = [replace(line, points=_inside(line.points, x_range)) for line in lines]
        areas = [replace(area, points=_inside(area.points, x_range)) for area in areas]
        lines = [line for line in lines if any(_is_number(y) for _, y in line.points)]
        if not lines:
            return empty_chart(title, "There are no values in this range: show all epochs.")
    frame = _frame(lines, areas, y_range, robust and not log, x_range, log)
    spans = [x for x in spans if frame.left <= x <= frame.right]
    shapes = [
        f'<rect x="{frame.x(x - 0.5)}" y="0" width="{round(frame.x(x + 0.5) - frame.x(x - 0.5), 1)}" height="{SCALE}" '
        f'fill="{span_colour}" opacity="0.2"/>'
        for x in spans
    ]
    ticks = log_ticks(frame.low, frame.high) if log else nice_ticks(frame.low, frame.high)
    note = "; ".join(filter(None, (note, "logarithmic axis" if log else "")))
    shapes += [f'<line class="grid" x1="0" x2="{SCALE}" y1="{frame.y(tick)}" y2="{frame.y(tick)}"/>' for tick in ticks]
    for area in areas:
        points = thin_out(area.points)
        outline = [(x, high) for x, _, high in points] + [(x, low) for x, low, _ in reversed(points)]
        shapes.append(f'<polygon points="{_path(outline, frame)}" fill="{area.colour}" opacity="{area.opacity}"/>')
    dots, columns = [], _Columns()
    for line in lines:
        for run in _runs(thin_out(line.points)):
            shapes.append(
                f'<polyline points="{_path(run, frame)}" stroke="{line.colour}" '
                f'stroke-dasharray="{line.dash}" class="line"/>'
            )
        x, y = next((x, y) for x, y in reversed(line.points) if _is_number(y))
        if 0 <= frame.y(y) <= SCALE:
            dots.append(f'<i style="left:{frame.x(x) / 10}%;top:{frame.y(y) / 10}%;background:{line.colour}"></i>')
        for x, y in thin_out(line.points, MOST_HOVERS):
            if _is_number(y):
                columns.add(x, f"{_swatch(line)} {escape(line.name)} <b>{y:.{digits}f}</b>")
    legend = "".join(_legend_entry(line, digits) for line in lines)
    if spans and span_name:
        legend += f'<span><i class="swatch block" style="background:{span_colour}"></i>{escape(span_name)}</span>'
    return (
        f'<figure class="chart" role="img" aria-label="{escape(title)}">'
        f"<figcaption><b>{escape(title)}</b>{_note(note)}<span class='legend'>{legend}</span></figcaption>"
        f'<div class="plot"><div class="y-axis">{_y_labels(ticks, frame, log)}</div>'
        f'<div class="panel" data-left="{frame.left:g}" data-right="{frame.right:g}">'
        f'<svg viewBox="0 0 {SCALE} {SCALE}" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(shapes)}</svg>{''.join(dots)}{_hovers(columns, frame, x_name, set(spans), span_name)}</div>"
        f'<div class="x-axis">{_x_labels(frame)}<em>{escape(x_name)}</em></div></div></figure>'
    )


def empty_chart(title: str, text: str) -> str:
    """A panel of the same size that says what will be in it."""
    return (
        f'<figure class="chart empty"><figcaption><b>{escape(title)}</b></figcaption>'
        f'<div class="plot"><p>{escape(text)}</p></div></figure>'
    )


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values between `low` and `high`, about `count` of them."""
    span = high - low
    if not span > 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= count + 0.5)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def thin_out(points: Sequence[tuple], most: int = MOST_POINTS) -> Sequence[tuple]:
    """Every n-th point, so that at most `most` are left (and the last one)."""
    stride = math.ceil(len(points) / most)
    if stride <= 1:
        return points
    kept = list(points[::stride])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def log_ticks(low: float, high: float) -> list[float]:
    """Round values between `low` and `high` for a logarithmic axis: powers of ten and, on both sides of 0, 0 itself;
    their double and fivefold where those are few."""
    scale = max(abs(low), abs(high))
    powers = range(math.floor(math.log10(scale)), math.floor(math.log10(scale)) - 9, -1) if scale > 0 else range(0)
    for factors in ((1,), (5, 2, 1)):
        sizes = [factor * 10.0**power for power in powers for factor in factors]  # the largest first
        above, below = [x for x in sizes if low <= x <= high], [-x for x in sizes if low <= -x <= high]
        zero = [0.0] if low <= 0 <= high else []
        if len(above) + len(below) + len(zero) >= 3:
            stride = -(-(len(above) + len(below)) // 5)
            return sorted([*above[::stride], *zero, *below[::stride]])
    return nice_ticks(low, high)


def _inside(points: Sequence[tuple], x_range: tuple[float, float]) -> list[tuple]:
    return [point for point in points if x_range[0] <= point[0] <= x_range[1]]


def _log_warp(values: Sequence[float]) -> Callable[[float], float]:
    """Logarithm; where not all values are positive one that is linear around 0."""
    if min(values) > 0:
        return lambda value: math.log10(max(value, 1e-12))
    largest = max(map(abs, values)) or 1.0
    unit = max(min((abs(value) for value in values if value), default=largest), largest / 1e8)
    return lambda value: math.copysign(math.log10(1 + abs(value) / unit), value)


def _frame(
    lines: Sequence[Line],
    areas: Sequence[Area],
    y_range: tuple[float | None, float | None],
    robust: bool,
    x_range: tuple[float, float] | None,
    log: bool,
) -> _Frame:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points if _is_number(y)]
    ys += [y for area in areas for _, *ends in area.points for y in ends if _is_number(y)]
    low, high = min(ys), max(ys)
    if robust and len(ys) >= 10:
        bulk = sorted(ys)[int(0.9 * (len(ys) - 1))]
        if high > bulk + 2 * (bulk - low):
            high = bulk + 0.5 * (bulk - low)
    padding = 0.08 * (high - low) or 0.05 * abs(high) or 0.5
    if log:  # a distance on that axis is a factor
        wide = (high / low) ** 0.08 * 1.02 if low > 0 else 1.5
        low, high = (low / wide if low > 0 else low * wide), (high * wide if high > 0 else high / wide)
    else:
        low, high = low - padding, high + padding
    low = y_range[0] if y_range[0] is not None else low
    high = y_range[1] if y_range[1] is not None else high
    if not high > low:
        low, high = low - 0.5, high + 0.5
    left, right = min(xs), max(xs)
    if x_range is not None:
        left, right = max(left, x_range[0]), min(right, x_range[1])
    else:
        # Early epochs get room to grow into, so that the line does not jump to a new scale every second.
        right = max(right, left + 4)
    return _Frame(left - 0.5, right + 0.5, low, high, _log_warp([*ys, low, high]) if log else float)


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """Stretches without a gap, of two points at least."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if _is_number(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _path(points: Iterable[tuple[float, float]], frame: _Frame) -> str:
    return " ".join(f"{frame.x(x):g},{frame.y(y):g}" for x, y in points)


def _swatch(line: Line) -> str:
    kind = "dashed" if line.dash else ""
    return f'<i class="swatch {kind}" style="--c:{line.colour}"></i>'


def _legend_entry(line: Line, digits: int) -> str:
    latest = next(y for _, y in reversed(line.points) if _is_number(y))
    return f"<span>{_swatch(line)}{escape(line.name)} <b>{latest:.{digits}f}</b></span>"


def _note(note: str) -> str:
    return f"<small>{escape(note)}</small>" if note else ""


def _y_labels(ticks: Sequence[float], frame: _Frame, log: bool) -> str:
    if log:
        return "".join(f'<span style="top:{frame.y(t) / 10}%">{t:g}</span>' for t in ticks)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1
    # 0.25 needs two digits, 0.5 one: as many as it takes to write the step exactly.
    digits = next((d for d in range(6) if abs(round(step, d) - step) < 1e-9 * step + 1e-12), 6)
    return "".join(f'<span style="top:{frame.y(t) / 10}%">{t:.{digits}f}</span>' for t in ticks)


def _x_labels(frame: _Frame) -> str:
    ticks = [t for t in nice_ticks(frame.left, frame.right, 6) if float(t).is_integer()]
    return "".join(f'<span style="left:{frame.x(t) / 10}%">{t:.0f}</span>' for t in ticks)


def _hovers(columns: _Columns, frame: _Frame, x_name: str, spans: set[float], span_name: str) -> str:
    xs = sorted(columns.rows)
    parts = []
    for k, x in enumerate(xs):
        left = (xs[k - 1] + x) / 2 if k else frame.left
        right = (xs[k + 1] + x) / 2 if k + 1 < len(xs) else min(frame.right, x + 0.5)
        side = "to-left" if x > (frame.left + frame.right) / 2 else ""
        extra = f" · {escape(span_name)}" if x in spans and span_name else ""
        parts.append(
            f'<div class="hover {side}" style="left:{frame.x(left) / 10:.2f}%;'
            f'width:{(frame.x(right) - frame.x(left)) / 10:.2f}%">'
            f"<div><u>{escape(x_name)} {x:g}{extra}</u>{'<br>'.join(columns.rows[x])}</div></div>"
        )
    return "".join(parts)
