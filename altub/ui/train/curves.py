"""From the lines of events.jsonl to the charts of the Train tab."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from altub.metrics import METRICS
from altub.training.records import EpochRecord, curve
from altub.ui.html.charts import Area, Line, empty_chart, line_chart
from altub.ui.html.value_map import value_map
from altub.ui.html.zoom import Range
from altub.ui.watch import RunView

__all__ = ["channel_map", "drift_charts", "loss_chart", "metric_chart", "metric_tiles"]

INK, FLOW, BASE, HELD_OUT = "var(--altub-ink)", "var(--altub-flow)", "var(--altub-base)", "var(--altub-held-out)"
PIXELS, REGIONS = "#CC79A7", "#7B61D1"  # measured pixel by pixel, and region by region

TILES = ("image_auroc", "pixel_auroc", "aupro", "f1_max")


def loss_chart(events: Sequence[EpochRecord], zoom: Range | None = None, log: bool = False) -> str:
    """Negative log-likelihood per dimension of training and held-out images; base epochs are shaded.

    Args:
        zoom: first and last epoch to show.
    """
    lines = [
        Line("training", FLOW, [(record.epoch, record.loss) for record in events]),
        Line("held-out", HELD_OUT, [(record.epoch, record.held_out) for record in events], "7 5"),
    ]
    return line_chart(
        "Negative log-likelihood",
        lines,
        spans=base_epochs(events),
        span_name="base epoch",
        x_range=zoom,
        log=log,
        robust=True,
        note="nats per dimension, lower is better; held-out: good images that are not trained on",
    )


def metric_chart(events: Sequence[EpochRecord], zoom: Range | None = None) -> str:
    """AUROCs and AUPRO on the test set, epoch by epoch."""
    title = "Test set"
    measured = [record for record in events if record.test is not None]
    if events and not measured:
        return empty_chart(title, "No labelled test images: add defective ones to measure how well they are found.")
    styles = (("image_auroc", INK, ""), ("pixel_auroc", PIXELS, ""), ("aupro", REGIONS, "3 4"))
    lines = [
        Line(METRICS[name].title, colour, [(record.epoch, record.value(name)) for record in measured], dash)
        for name, colour, dash in styles
    ]
    return line_chart(
        title,
        lines,
        spans=base_epochs(events),
        span_name="base epoch",
        x_range=zoom,
        y_range=(None, 1.0),
        note="1 is perfect, 0.5 is chance for AUROC; never trained on",
    )


def drift_charts(events: Sequence[EpochRecord], head: int, base_update: str, zoom: Range | None = None) -> str:
    """Two charts: how far one head's mu lies from 0 and its sigma from 1, over its channels."""
    titles = ("Mean: distance of μ from 0", "Spread: distance of σ from 1")
    if base_update == "off":
        text = "The base stays at N(0, I): the base update is off in this training."
        return _pair(*(empty_chart(title, text) for title in titles))
    rows = [(record.epoch, record.base[head]) for record in events if record.heads > head]
    charts = []
    for quantiles, title in zip(
        ([(epoch, base.mean) for epoch, base in rows], [(epoch, base.std) for epoch, base in rows]), titles, strict=True
    ):
        start = [(0, 0.0, 0.0)] if rows else []  # every base begins at N(0, I)
        charts.append(
            line_chart(
                title,
                [Line("median channel", BASE, [(x, y) for x, y, _ in start] + [(x, q.q50) for x, q in quantiles])],
                areas=[
                    Area("5-95 %", BASE, start + [(x, q.q05, q.q95) for x, q in quantiles], 0.15),
                    Area("25-75 %", BASE, start + [(x, q.q25, q.q75) for x, q in quantiles], 0.3),
                ],
                x_range=zoom,
                y_range=(0, None),
                note="shaded: 25 to 75 % and 5 to 95 % of the channels",
            )
        )
    return _pair(*charts)


def channel_map(view: RunView, events: list[EpochRecord], scale: int, kind: str, zoom: Range | None = None) -> str:
    """Every channel of one head's base over the epochs. kind: "mean" or "log_std"."""
    history = view.run.base_history()
    if view.config.base.base_update == "off" or scale >= len(history):
        return ""
    values = history[scale][0 if kind == "mean" else 1][1:]  # row 0 is N(0, I) before the first epoch
    epochs = list(range(1, len(values) + 1))
    base_trained = [record.base_trained for record in events if record.epoch][: len(values)]
    if zoom is not None:
        kept = slice(max(zoom[0] - 1, 0), zoom[1])
        values, epochs, base_trained = values[kept], epochs[kept], base_trained[kept]
    if not values.size or not np.isfinite(values).all():
        return ""
    return value_map(
        "Mean μ of every channel" if kind == "mean" else "Spread log σ of every channel",
        values,
        epochs,
        marked=base_trained,
        mark_name="base epoch",
        note="a row is a channel, sorted by its last value; no colour is N(0, I)",
    )


def metric_tiles(events: Sequence[EpochRecord]) -> str:
    """The last evaluated epoch's metrics, large; the best value of each, small and called so."""
    last = next((record for record in reversed(events) if record.test is not None), None)
    if last is None:
        return ""
    tiles = []
    for name in TILES:
        metric, value = METRICS[name], last.value(name)
        shown = f"{value:.3f}" if value is not None else "-"
        below = "<small>needs masks</small>" if value is None and metric.needs_masks else ""
        if found := curve(events, name):
            epoch, top = max(found, key=lambda point: (point[1], -point[0]))
            below = f"<small>best {top:.3f}, epoch {epoch}</small>"
        tiles.append(f'<div title="{escape(metric.meaning)}"><span>{metric.title}</span><b>{shown}</b>{below}</div>')
    return (
        f'<div class="tiles">{"".join(tiles)}</div><p class="muted small">Large: last epoch ({last.epoch}). '
        "Best: the highest value of all epochs, chosen on the test set and therefore optimistic.</p>"
    )


def base_epochs(events: Sequence[EpochRecord]) -> list[int]:
    """Epochs in which the base was updated on its own."""
    return [record.epoch for record in events if record.base_trained]


def _pair(first: str, second: str) -> str:
    return f'<div class="pair">{first}{second}</div>'
