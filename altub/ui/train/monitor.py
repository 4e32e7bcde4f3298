"""The right side of the Train tab: one run as its directory tells it, looked at once a second.

Nothing lives in the page: a reload, a second window or a restarted server finds the same run in the same state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from altub.deploy.server import visitors
from altub.ui.choices import Choices
from altub.ui.html.zoom import ZOOM_JS
from altub.ui.train.bar import Bar
from altub.ui.train.handlers import LIVELY, PARTS, TrainHandlers
from altub.ui.train.heatmaps import ENLARGE_JS
from altub.ui.train.queue_list import QUEUE_JS
from altub.ui.train.status import first_steps, no_run_card
from altub.ui.train.updates import Seen

__all__ = ["Monitor", "build_monitor"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class Monitor:
    """seen: the visitor's `Seen`. visitor: the word they are known by on a Space. remembered:
    id of the shown run. inputs, outputs: of
    `TrainHandlers.look`."""

    seen: gr.State
    visitor: gr.BrowserState
    remembered: gr.BrowserState
    inputs: list[Any]
    outputs: list[Any]


def build_monitor(demo: gr.Blocks, handlers: TrainHandlers, bar: Bar) -> Monitor:
    """Lays the panel out and connects it and the bar."""
    remembered = gr.BrowserState(None, storage_key="altub-run", secret="altub")
    visitor = gr.BrowserState("", storage_key="altub-visitor", secret="altub")
    seen, arrived = gr.State(Seen()), gr.Number(0, precision=0, visible=False)
    timer = gr.Timer(LIVELY)
    with gr.Row(elem_id="run-bar", visible=False) as runs:
        picker = Choices(
            [], label="Run", show_label=False, container=False, filterable=False, elem_id="run-picker", scale=1
        )
    with gr.Column(elem_id="run-head"):
        status = gr.HTML(no_run_card(), elem_id="run-status")
        with gr.Column(visible=False, elem_id="run-first") as first:
            sample = gr.Button("Train the sample", variant="primary", size="lg", elem_id="train-sample")
            gr.HTML(first_steps())
    queue = gr.HTML(js_on_load=QUEUE_JS, elem_id="run-queue")
    with gr.Column(visible=False, elem_id="run-live") as live:
        tiles = gr.HTML(elem_id="run-metrics")
        with gr.Row(elem_id="chart-bar"):
            zoom = gr.Textbox(
                label="Epochs",
                info="Drag over a chart, or enter a range such as 10-40; double-click for all.",
                placeholder="all",
                max_lines=1,
                scale=0,
                min_width=260,
                elem_id="chart-zoom",
            )
            log = gr.Checkbox(False, label="Logarithmic loss", container=False, scale=0, elem_id="chart-log")
        with gr.Row(elem_classes="charts"):
            loss = gr.HTML(elem_id="loss-chart", min_width=320, js_on_load=ZOOM_JS)
            metrics = gr.HTML(elem_id="metric-chart", min_width=320, js_on_load=ZOOM_JS)
        with gr.Column(elem_classes="altub-card", elem_id="examples-card"):
            with gr.Row(elem_classes="altub-head"):
                gr.HTML(
                    "<h3>Heatmaps of test images</h3><p>The contour marks pixels above every held-out good image.</p>"
                )
                early = Choices(
                    [],
                    label="Compare with epoch",
                    filterable=False,
                    scale=0,
                    min_width=220,
                    elem_id="early-epoch",
                )
            examples = gr.HTML(elem_id="examples", js_on_load=ENLARGE_JS)
            large = gr.HTML(elem_id="example-large")
        with gr.Column(elem_classes="altub-card", elem_id="drift-card"):
            with gr.Row(elem_classes="altub-head"):
                gr.HTML(
                    "<h3>Drift of the learned base</h3><p>Every channel starts at N(0, 1); AltUB learns its mean μ and "
                    "its spread σ.</p>"
                )
                head = Choices([], label="Scale", filterable=False, scale=0, min_width=180, elem_id="drift-head")
                kind = gr.Dropdown(
                    [("mean μ", "mean"), ("spread log σ", "log_std")],
                    value="mean",
                    label="Parameter",
                    filterable=False,
                    scale=0,
                    min_width=150,
                    elem_id="drift-kind",
                )
            drift = gr.HTML(elem_id="drift-charts", js_on_load=ZOOM_JS)
            channels = gr.HTML(elem_id="drift-picture", js_on_load=ZOOM_JS)

    parts: dict[str, Any] = {
        "runs": runs,
        "picker": picker,
        "start": bar.start,
        "now": bar.now,
        "stop": bar.stop,
        "resume": bar.resume,
        "inspect": bar.inspect,
        "status": status,
        "first": first,
        "queue": queue,
        "live": live,
        "tiles": tiles,
        "zoom": zoom,
        "loss": loss,
        "metrics": metrics,
        "early": early,
        "examples": examples,
        "head": head,
        "drift": drift,
        "channels": channels,
        "timer": timer,
        "remembered": remembered,
        "arrived": arrived,
    }
    inputs, outputs = [seen, visitor, remembered, kind, arrived], [parts[name] for name in PARTS]
    drawing: dict[str, Any] = {**QUIET, "concurrency_limit": None}
    look = handlers.look
    timer.tick(look, inputs, outputs, **drawing)
    gr.on([demo.load, kind.input], look, inputs, outputs, trigger_mode="always_last", **drawing)
    for field, choose in ((picker, handlers.choose_run), (early, handlers.choose_epoch), (head, handlers.choose_scale)):
        field.input(choose, [seen, field], None, **drawing).success(look, inputs, outputs, **drawing)
    # What a chart says stands in the event, not in the chart's value.
    for chart in (loss, metrics, drift, channels):
        chart.select(handlers.drag_zoom, seen, None, **drawing).success(look, inputs, outputs, **drawing)
        chart.clear(handlers.clear_zoom, seen, None, **drawing).success(look, inputs, outputs, **drawing)
    for event, choose in ((zoom.submit, handlers.type_zoom), (zoom.blur, handlers.type_zoom)):
        event(choose, [seen, zoom], None, **drawing).success(look, inputs, outputs, **drawing)
    queue.select(handlers.change_queue, [seen, visitor], None, **drawing).success(look, inputs, outputs, **drawing)
    log.input(handlers.choose_log, [seen, log], None, **drawing).success(look, inputs, outputs, **drawing)
    examples.select(handlers.enlarge, seen, large, **drawing).success(
        None, js="() => document.querySelector('#example-large dialog')?.showModal()", api_visibility="private"
    )
    demo.load(lambda known: known or visitors.new_visitor(), visitor, visitor, **QUIET)
    for button, answer in ((bar.stop, handlers.stop), (bar.resume, handlers.resume)):
        button.click(answer, [seen, visitor], button, **QUIET).success(look, inputs, outputs, **drawing)
    sample.click(handlers.start_sample, [seen, visitor], None, concurrency_limit=1, **QUIET).success(
        look, inputs, outputs, **drawing
    )
    return Monitor(seen, visitor, remembered, inputs, outputs)
