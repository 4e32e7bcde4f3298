"""What an adaptation did, as HTML: the numbers before and after, every score, and what moved. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from altub.inference.calibration import Calibration
from altub.inference.threshold import Threshold
from altub.line.adapt import AdaptationReport
from altub.ui.html.verdicts import number
from altub.ui.line.adapt_work import Pending

if TYPE_CHECKING:
    from altub.line.moves import Move

__all__ = ["report_html"]

STRIP = 48  # cells of a drift strip
STRONG = 1.0  # sigma: the fullest colour


def report_html(pending: Pending) -> str:
    """The whole card of an adaptation."""
    report, after = pending.adaptation.report, pending.adaptation.detector
    before = pending.before.detector
    calibrations = before.require_calibration(), after.require_calibration()
    parts = [_doubts(pending.doubts), _skipped(pending.skipped), _tiles(report, calibrations)]
    parts.append(
        '<h4>Anomaly scores of the images</h4><p class="hint">Every image, each on its own model\'s scale. After: '
        "judged by models that were adapted to the others.</p>"
    )
    thresholds = before.threshold, after.require_calibration().threshold()
    parts.append(_strips(report, calibrations, thresholds))
    parts.append(_moves(report))
    parts.append(f'<p class="hint">{escape(report.promise)} Adapted by {report.way} in {report.seconds:.1f} s.</p>')
    return "".join(parts)


def _doubts(doubts: Sequence[str]) -> str:
    if not doubts:
        return ""
    lines = "".join(f"<p>{escape(doubt)}</p>" for doubt in doubts)
    return f'<div class="line-state alarm" role="alert"><h4>These do not look like good parts</h4>{lines}</div>'


def _skipped(skipped: Sequence[str]) -> str:
    if not skipped:
        return ""
    lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in skipped[:5])
    more = f"<li>… and {len(skipped) - 5} more</li>" if len(skipped) > 5 else ""
    return f'<div class="skipped"><b>{len(skipped)} skipped</b><ul>{lines}{more}</ul></div>'


def _tiles(report: AdaptationReport, calibrations: tuple[Calibration, Calibration]) -> str:
    before, after = calibrations
    medians = (
        before.anomaly_score(float(np.median(report.scores_before))),
        after.anomaly_score(float(np.median(report.scores_after))),
    )
    n = report.images
    rows = (
        (
            "Good images above the threshold",
            f"{report.rejected_before} of {n}",
            f"{report.rejected_after} of {n}",
            "After: the threshold is set on these same images, each judged by a model that had not seen it",
        ),
        ("Median anomaly score", *map(number, medians), "0: a typical good part, 1: the most unusual good part known"),
        (
            "Median p-value",
            f"{np.median(report.p_values_before):.2g}",
            f"{np.median([after.p_value(score) for score in report.scores_after]):.2g}",
            "Share of good images expected to score at least this high; 0.5 is typical",
        ),
    )
    boxes = "".join(
        f'<div title="{escape(title)}"><dt>{name}</dt><dd><span>{first}</span><i>→</i><b>{then}</b></dd></div>'
        for name, first, then, title in rows
    )
    return f'<dl class="before-after">{boxes}</dl>'


def _strips(
    report: AdaptationReport,
    calibrations: tuple[Calibration, Calibration],
    thresholds: tuple[Threshold, Threshold],
) -> str:
    """Two rows of dots on one axis that is linear around 0 and logarithmic beyond."""
    rows = []
    for words, scores, calibration, threshold in zip(
        ("Before", "After"), (report.scores_before, report.scores_after), calibrations, thresholds, strict=True
    ):
        values = [calibration.anomaly_score(float(score)) for score in scores]
        rows.append((words, values, calibration.anomaly_score(threshold.value)))
    everything = [value for _, values, cut in rows for value in (*values, cut)]
    low, high = _warp(min(*everything, -0.5)) - 0.15, _warp(max(*everything, 2.0)) + 0.15

    def place(value: float) -> float:
        return 100 * (_warp(value) - low) / (high - low)

    drawn = []
    for words, values, cut in rows:
        dots = "".join(
            f'<i class="{"out" if value > cut else "in"}" '
            f'style="left:{place(value):.2f}%;top:{_level(index):.0f}%"></i>'
            for index, value in enumerate(values)
        )
        outside = sum(value > cut for value in values)
        label = f"{words}: {outside} of {len(values)} above the threshold {number(cut)}"
        drawn.append(
            f'<div class="strip-row" role="img" aria-label="{escape(label)}"><span>{words}</span><div class="dots">'
            f'<u style="left:{place(cut):.2f}%"></u>{dots}</div></div>'
        )
    ticks = [tick for tick in (0, 1, 3, 10, 30, 100, 300, 1000) if low <= _warp(tick) <= high]
    axis = "".join(f'<span style="left:{place(tick):.2f}%">{tick}</span>' for tick in ticks)
    return f'<div class="strips">{"".join(drawn)}<div class="strip-axis"><div>{axis}</div></div></div>'


def _warp(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


def _level(index: int) -> float:
    """Height of a dot in per cent: spread out so that equal scores stay apart."""
    return 15 + 70 * ((index * 0.618034) % 1)


def _moves(report: AdaptationReport) -> str:
    parts = []
    for what, moves in (("Learned base (μ, σ)", report.base), ("Features before the flow", report.norm)):
        if not moves:
            continue
        if not any(move.mean or move.log_std for move in moves):
            parts.append(f'<h4>{what}</h4><p class="hint">Did not move: {report.way} leaves it as it was.</p>')
            continue
        rows = "".join(_move_row(scale, move) for scale, move in enumerate(moves, start=1))
        parts.append(
            f'<h4>{what}</h4><div class="scroll" tabindex="0" role="region" aria-label="{what}"><table><thead><tr>'
            '<th scope="col">Scale</th><th scope="col">Mean moved</th><th scope="col">log σ moved</th>'
            f'<th scope="col">Channels, sorted</th></tr></thead><tbody>{rows}</tbody></table></div>'
        )
    if any(report.flow):
        steps = ", ".join(f"{100 * step:.2f} %" for step in report.flow)
        parts.append(f'<h4>Flow</h4><p class="hint">Its weights moved by {steps} of their size, scale by scale.</p>')
    return "".join(parts)


def _move_row(scale: int, move: Move) -> str:
    means = np.sort(move.means)[::-1]
    cells = means[np.linspace(0, len(means) - 1, min(STRIP, len(means))).round().astype(int)]
    strip = "".join(f'<i style="background:{_colour(value)}"></i>' for value in cells)
    title = f"Steps of the means from {means[0]:+.2f} to {means[-1]:+.2f} σ, by channel"
    return (
        f'<tr><th scope="row">{scale}</th><td>{move.mean:.2f} σ</td><td>{move.log_std:.2f}</td>'
        f'<td><span class="drift-strip" role="img" aria-label="{title}" title="{title}">{strip}</span></td></tr>'
    )


def _colour(step: float) -> str:
    """Red for up, blue for down, as in the drift picture of a training."""
    share = min(abs(step) / STRONG, 1.0) * 100
    return f"color-mix(in srgb, {'#b2182b' if step > 0 else '#2166ac'} {share:.0f}%, var(--altub-sunken))"
