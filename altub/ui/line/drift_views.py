"""What the drift watch shows, as HTML: a sentence, two charts, and a table of what is watched. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from html import escape

import numpy as np

from altub.inference.calibration import Calibration
from altub.inference.threshold import Threshold
from altub.line.drift import STREAMS, DriftWatch
from altub.line.history import DriftHistory
from altub.line.recorder import CAMERA, MACHINES, PAGE
from altub.ui.html.charts import Area, Line, empty_chart, line_chart

__all__ = ["NO_MODEL", "OFF", "capital_chart", "score_chart", "source_name", "state_html", "streams_table"]

NO_MODEL = '<div class="nothing-yet"><b>No trained model yet</b>Train one on the Train tab first.</div>'
OFF = (
    '<div class="nothing-yet"><b>Off on this Space</b>Its visitors would see each other\'s images. It works in an '
    "AltUB of your own, or where the owner sets ALTUB_SPACE_UPLOADS=shared.</div>"
)
SHOWN = 400  # images of the charts: more cannot be told apart
BAND = (0.05, 0.95)  # quantiles of the held-out scores
FEW = 30  # images; a large change takes about as many to be found
LOWEST = -2.0  # of the axis of capitals, in powers of ten
#: What is drawn as one line -> its colour, and its streams.
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "score": ("var(--cmp-3)", ("score",)),
    "whole image": ("var(--cmp-1)", ("background",)),
    "brightness": ("var(--cmp-6)", ("brightness",)),
    "colour": ("var(--cmp-5)", ("red_blue", "green")),
    "sharpness": ("var(--cmp-2)", ("sharpness",)),
}
_NAMES = {
    "score": "Score of good images",
    "background": "Anomaly of the whole image",
    "brightness": "Brightness",
    "red_blue": "Colour, red against blue",
    "green": "Colour, green against the rest",
    "sharpness": "Sharpness",
}


def source_name(source: str, folders: dict[str, str]) -> str:
    """Who inspected, for people; folders: of the journals that the page knows."""
    named = {PAGE: "This page", MACHINES: "HTTP clients", CAMERA: "Camera"}
    return named.get(source) or f"Watched folder {folders.get(source, source[:6])}"


def state_html(history: DriftHistory, version: int | None) -> str:
    """How the line is doing, in a sentence, and the numbers beside it."""
    watch = history.watch
    alarm = watch.alarm
    if not history.images:
        words = (
            "No image has been inspected by this version of the model yet. Inspect some, watch a folder, or post them "
            "to <code>/v1/inspect</code>."
        )
        return f'<div class="line-state quiet"><p>{words}</p></div>'
    if alarm is not None:
        kind, head = "alarm", "The line has changed"
        words = escape(alarm.sentence().partition(": ")[2])
    else:
        kind, head = "calm", "No change found"
        words = f"Evidence of a change: {100 * watch.evidence:.0f} % of what gives an alarm."
        if history.images < FEW:
            words += f" It takes about {FEW} images to find even a large change."
    numbers = [("Images", f"{history.images:,}"), ("Above the threshold", _share(history.rejected, history.images))]
    if version is not None:
        numbers.append(("Model version", str(version)))
    numbers.append(("Last image", _when(history.points[-1].at)))
    if history.began is not None:
        numbers.append(("Watched since", _when(history.began)))
    boxes = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in numbers)
    role = ' role="alert"' if alarm is not None else ""
    words = words[:1].upper() + words[1:]
    return f'<div class="line-state {kind}"{role}><h4>{head}</h4><p>{words}</p><dl>{boxes}</dl></div>'


def score_chart(history: DriftHistory, calibration: Calibration, threshold: Threshold) -> str:
    """The anomaly scores of the last images, the band of held-out good images, and the threshold."""
    title = "Anomaly scores"
    points = list(history.points)[-SHOWN:]
    scored = [(point.number, calibration.anomaly_score(point.score)) for point in points if point.score is not None]
    if not scored:
        return empty_chart(title, "The scores of inspected images appear here.")
    low, high = (calibration.anomaly_score(float(np.quantile(calibration.scores, share))) for share in BAND)
    cut = calibration.anomaly_score(threshold.value)
    first, last = points[0].number, points[-1].number
    ends = [(first, cut), (max(last, first + 1), cut)]
    top = max(1.3 * cut, 1.3 * float(np.quantile([score for _, score in scored], 0.9)))
    return line_chart(
        title,
        [
            Line("score", "var(--altub-flow)", scored),
            Line("threshold", "var(--altub-defect)", ends, dash="5 4"),
        ],
        areas=[Area("held-out", "var(--altub-good)", [(x, low, high) for x, _ in ends])],
        spans=_since_alarm(history, first, last),
        span_name="since the alarm",
        span_colour="var(--altub-defect)",
        x_name="image",
        y_range=(None, top),
        digits=2,
        note=f"green: 9 of 10 of the {calibration.scores.size} held-out good images; "
        f"what is above {top:.2g} is cut off",
    )


def capital_chart(history: DriftHistory) -> str:
    """The capital of the players who bet on a change, as powers of ten, and where it gives an alarm."""
    title = "Evidence of a change"
    points = list(history.points)[-SHOWN:]
    if not points:
        return empty_chart(title, "How strong the evidence of a change is, and what changed.")
    lines = [
        Line(name, colour, [(point.number, _ten(max(point.capital[key] for key in keys))) for point in points])
        for name, (colour, keys) in GROUPS.items()
    ]
    limit = _ten(history.watch.limit)
    first, last = points[0].number, points[-1].number
    alarm_line = Line("alarm", "var(--altub-defect)", [(first, limit), (max(last, first + 1), limit)], dash="5 4")
    top = max(y for line in lines for _, y in line.points)
    return line_chart(
        title,
        [*lines, alarm_line],
        spans=_since_alarm(history, first, last),
        span_name="since the alarm",
        span_colour="var(--altub-defect)",
        x_name="image",
        y_range=(LOWEST, max(limit, min(top, 2 * limit)) * 1.15),
        digits=1,
        note="capital of a fair bet on a change, as a power of ten: an alarm at the dashed line",
    )


def streams_table(watch: DriftWatch) -> str:
    """Each stream: median before, median of the last images, and the evidence."""
    if not watch.images:
        return ""
    rows = []
    for name, stream in watch.streams.items():
        if not stream.count:
            continue
        before, now = stream.medians()
        share = min(max(stream.highest / watch.limit, 0.0), 1.0)
        words = f"{100 * share:.0f} % of what gives an alarm"
        moved = watch.alarm is not None and watch.alarm.stream == name
        mark = ' <span class="mark">moved</span>' if moved else ""
        title = f'<th scope="row" title="{escape(STREAMS[name])}">{_NAMES[name]}{mark}</th>'
        rows.append(
            f"<tr{' class=moved' if moved else ''}>{title}"
            f"<td>{before:.4g}</td><td>{now:.4g}</td>"
            f'<td><span class="evidence" role="img" aria-label="{words}" title="{words}"><i style="width:'
            f'{100 * share:.0f}%"></i></span></td></tr>'
        )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="What is watched"><table><thead><tr>'
        '<th scope="col">Watched</th><th scope="col">Before</th><th scope="col">Last 20</th>'
        f'<th scope="col">Evidence</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _since_alarm(history: DriftHistory, first: int, last: int) -> Iterable[float]:
    alarm = history.watch.alarm
    return () if alarm is None else range(max(alarm.image, first), last + 1)


def _ten(logarithm: float) -> float:
    """A natural logarithm as a power of ten."""
    return logarithm / math.log(10)


def _share(count: int, total: int) -> str:
    return f"{count:,} ({100 * count / total:.0f} %)"


def _when(at: float) -> str:
    today = time.strftime("%d %b") == time.strftime("%d %b", time.localtime(at))
    return time.strftime("%H:%M:%S" if today else "%d %b %H:%M", time.localtime(at))
