"""Pieces of the Inspect tab as HTML: verdict, legend, maps of the scales, notices. Pure; all text is escaped."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from altub.inference.batch import Inspected, Unreadable
from altub.inference.calibration import Calibration
from altub.inference.comparability import UNCHECKED
from altub.inference.threshold import Threshold
from altub.metrics import MAIN_METRICS, METRICS
from altub.plots import colourise
from altub.ui.html.verdicts import VERDICTS, number, p_value_in_words, percent, remarks
from altub.ui.inspect.batch import PageBatch
from altub.ui.offers import Offer

__all__ = [
    "NO_IMAGE",
    "NO_MODEL",
    "batch_summary",
    "kept_title",
    "legend",
    "model_note",
    "problems",
    "scale_maps",
    "score_meaning",
    "stale",
    "stopped",
    "threshold_note",
    "verdict_card",
]

# A part under a heatmap: a square with a spot, drawn in the text's colour.
_LAYERS = (
    '<svg viewBox="0 0 48 48" fill="none" stroke="currentColor" stroke-width="2" aria-hidden="true">'
    '<rect x="5" y="9" width="38" height="30" rx="5"/><circle cx="31" cy="21" r="5"/>'
    '<circle cx="31" cy="21" r="10" stroke-dasharray="3 4"/><path d="M5 33l11-9 9 8 5-4 13 9"/></svg>'
)
NO_MODEL = (
    f'<div class="empty-state">{_LAYERS}<h3>No trained model yet</h3>'
    "<p>Train one first: the sample category takes a minute or two. A model can be used here after its first epoch, "
    "while training continues.</p></div>"
)
NO_IMAGE = (
    f'<div class="empty-state">{_LAYERS}<h3>No image yet</h3>'
    "<p>Drop one or more images on the left, or choose an example. Each gets a verdict, a p-value and a heatmap of "
    "where it differs from good parts.</p></div>"
)
SHOWN_PROBLEMS = 5
MAP_SIDE = 320  # longest side, in pixels, of the map of a scale


def score_meaning(share: float) -> str:
    """How the score follows from the pixels; `share` as in `DetectorConfig.score_share`."""
    if not share:
        return "Highest value before smoothing"
    return f"Mean of the highest {percent(share)} of the pixels, before smoothing"


def verdict_card(batch: PageBatch, item: Inspected, threshold: Threshold) -> str:
    """Chip, name, sentence, and the three numbers."""
    verdict = batch.verdict(item, threshold)
    kind, word = VERDICTS[verdict.kind]
    width, height = item.size
    stats = (
        (
            "Anomaly score",
            number(batch.calibration.anomaly_score(item.score)),
            "0: a typical good part, 1: the most unusual good part known, 3: three times as far. Raw score "
            f"{number(item.score)}. {score_meaning(batch.score_share)}.",
        ),
        ("p-value", f"{item.p_value:.3g}", "Share of good images expected to score at least this high"),
        (
            "Marked area",
            percent(verdict.marked_area),
            "Share of the image that is outlined",
        ),
    )
    boxes = "".join(
        f'<div title="{title}"><dt>{name}</dt><dd>{escape(value)}</dd></div>' for name, value, title in stats
    )
    return (
        f'<section class="verdict {kind}"><div class="line"><span class="chip {kind}">{word}</span>'
        f'<span class="name" title="{escape(item.source.name)}">{escape(item.source.name)}</span>'
        f'<span class="size">{width} × {height}</span></div>'
        f'<div class="words" tabindex="0"><p>{p_value_in_words(item.p_value, batch.calibration.scores.size)}</p>'
        f"{remarks(verdict)}</div><dl>{boxes}</dl></section>"
    )


def threshold_note(threshold: Threshold, calibration: Calibration) -> str:
    """The threshold with its promise, and what the number of held-out images does not allow."""
    unit = calibration.score_unit
    promise = f"Threshold <b>{number(unit.of(threshold.value))}</b>. {escape(threshold.origin.promise)}"
    own = calibration.threshold()
    # The slider lacks the rates that n cannot promise: at its end the sentence names them.
    warning = threshold.warning or (own.warning if threshold.value == own.value else None)
    return f'<div class="threshold-note"><p>{promise}</p>{_warning(warning)}</div>'


def _warning(text: str | None) -> str:
    return f'<p class="warning">{escape(text)}</p>' if text else ""


def legend(calibration: Calibration, threshold: float, colour_map: str) -> str:
    """The fixed colours of the heatmap with their numbers, in the unit of pixels; `threshold` is raw."""
    low, high = calibration.colour_range
    colours = colourise(np.linspace(0, 1, 17, dtype=np.float32)[None], 0, 1, colour_map)[0]
    ramp = ",".join(f"rgb({r},{g},{b})" for r, g, b in colours)
    value = float(calibration.pixel_unit.of(threshold))
    place = float(np.clip(100 * (threshold - low) / (high - low), 0, 100))
    return (
        '<div class="legend" title="Fixed colour scale from the held-out good images: the same for every image of this '
        'model.">'
        f'<div class="ramp" style="background:linear-gradient(90deg,{ramp})"><i style="left:{place:.2f}%">'
        f"<b>threshold {number(value)}</b></i></div>"
        '<div class="ends"><span>0: typical of good parts</span><span>1: highest on good parts</span>'
        "<span>2 and more</span></div></div>"
    )


def scale_maps(batch: PageBatch, item: Inspected, scales: np.ndarray, colour_map: str) -> str:
    """The maps (scales, h, w) whose smoothed mean is the anomaly map, each with its title, in the image's shape."""
    calibration = batch.calibration
    longest = max(item.size)
    size = tuple(max(1, round(MAP_SIDE * side / longest)) for side in item.size)
    figures = []
    for values, title in zip(scales, batch.scale_titles, strict=True):
        heat = Image.fromarray(colourise(values, *calibration.colour_range, colour_map))
        buffer = io.BytesIO()
        heat.resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=88)
        data = base64.b64encode(buffer.getvalue()).decode()
        figures.append(
            f'<figure><img src="data:image/jpeg;base64,{data}" alt="Map of {escape(title)}" width="{size[0]}" '
            f'height="{size[1]}"><figcaption>{escape(title)}</figcaption></figure>'
        )
    return (
        '<div class="card"><p class="caption">Feature scales <span class="help" tabindex="0" '
        'title="Fine scales show small defects such as scratches, coarse scales missing or misplaced parts. The '
        'heatmap is their smoothed mean.">'
        f'(?)</span></p><div class="scales">{"".join(figures)}</div></div>'
    )


def model_note(offer: Offer | None) -> str:
    """A line on the chosen model, how it reads images of more than 8 bits, and what it does not look at."""
    if offer is None:
        return ""
    measured = offer.metrics.measured()
    metrics = [f"{METRICS[name].label} {measured[name]:.3f}" for name in MAIN_METRICS if name in measured]
    parts = [offer.backbone, offer.progress, *metrics, time.strftime("%d %b %H:%M", time.localtime(offer.created))]
    notes = list(offer.pixel_range.notes) if offer.pixel_range is not None else []
    notes += [] if offer.compares_images else [UNCHECKED]
    return f"<p>{escape(' · '.join(parts))}</p>" + "".join(f"<p>{escape(note)}</p>" for note in notes)


def problems(items: Sequence[Unreadable]) -> str:
    """Why files could not be inspected, one sentence each."""
    if not items:
        return ""
    lines = "".join(f"<li>{escape(item.error)}</li>" for item in items[:SHOWN_PROBLEMS])
    more = len(items) - SHOWN_PROBLEMS
    rest = f"<li>… and {more} more: see the table.</li>" if more > 0 else ""
    count = f"{len(items)} file{'s' if len(items) != 1 else ''}"
    return f'<div class="problems" role="alert"><b>{count} skipped</b><ul>{lines}{rest}</ul></div>'


def stopped(done: int, asked: int, pending: int = 0) -> str:
    """A notice on a batch that was stopped; pending: earlier images that were not inspected again."""
    if done >= asked:
        return ""
    words = f"Stopped after {done} of {asked} images; those are kept."
    if pending:
        words += f" {pending} earlier image{' is' if pending == 1 else 's are'} pending: inspect all again."
    return f'<p class="hint">{words}</p>'


def stale(batch: PageBatch | None, run_id: str | None, learned_on: bool = False) -> str:
    """A hint where results are not of the chosen model (the page greys them out), or not of its newest weights."""
    if batch is not None and run_id and batch.run_id != run_id:
        return f'<p class="hint outdated">These results are by another model: {escape(batch.title)}.</p>'
    if not learned_on:
        return ""
    return '<p class="hint">The model was trained further after these results: inspect all again to update them.</p>'


def kept_title(batch: PageBatch, changed: float) -> str:
    """A line of the list of inspections."""
    count = len(batch.items)
    when = time.strftime("%d %b %H:%M", time.localtime(changed))
    return f"{when} · {count} image{'s' if count != 1 else ''} · {batch.title}"


def batch_summary(batch: PageBatch) -> str:
    """One line over the list: how many images, and by which model."""
    inspected = len(batch.inspected)
    pending = sum(isinstance(item, Unreadable) and item.is_pending for item in batch.items)
    unreadable = len(batch.items) - inspected - pending
    parts = [f"<b>{inspected}</b> image{'s' if inspected != 1 else ''}"]
    if unreadable:
        parts.append(f'<span class="chip plain">{unreadable} unreadable</span>')
    if pending:
        parts.append(f'<span class="chip plain">{pending} pending</span>')
    return f'<div class="batch-line">{" ".join(parts)}<span class="model">{escape(batch.title)}</span></div>'
