"""The right side of the Train tab: one run as its directory tells it, looked at once a second.

Nothing lives in the page: a reload, a second window or a restarted server finds the same run in the same state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from altub.deploy.server import visitors
from altub.ui.theme import IS_DARK_JS
from altub.ui.train.handlers import LIVELY, PARTS, TrainHandlers
from altub.ui.train.status import no_run_card
from altub.ui.train.updates import Seen

__all__ = ["Monitor", "build_monitor"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class Monitor:
    """seen: the visitor's `Seen`. visitor: the word they are known by on a Space. inputs, outputs: of
    `TrainHandlers.look`. dark: is the page dark?"""

    seen: gr.State
    visitor: gr.BrowserState
    inputs: list[Any]
    outputs: list[Any]
    dark: gr.Checkbox


def build_monitor(demo: gr.Blocks, handlers: TrainHandlers) -> Monitor:
    """Lays the panel out and connects it."""
    remembered = gr.BrowserState(None, storage_key="altub-run", secret="altub")
    visitor = gr.BrowserState("", storage_key="altub-visitor", secret="altub")
    seen = gr.State(Seen())
    timer = gr.Timer(LIVELY)
    dark = gr.Checkbox(False, visible="hidden", label="dark", elem_id="is-dark")
    with gr.Row(elem_id="run-bar"):
        picker = gr.Dropdown(
            [], label="Run", show_label=False, container=False, filterable=False, elem_id="run-picker", scale=1
        )
        stop = gr.Button("Stop", size="md", scale=0, min_width=90, interactive=False, elem_id="run-stop")
        resume = gr.Button("Resume", size="md", scale=0, min_width=90, interactive=False, elem_id="run-resume")
    status = gr.HTML(no_run_card(), elem_id="run-status")
    with gr.Column(visible=False, elem_id="run-live") as live:
        tiles = gr.HTML(elem_id="run-metrics")
        with gr.Row(elem_classes="charts"):
            loss = gr.HTML(elem_id="loss-chart", min_width=320)
            metrics = gr.HTML(elem_id="metric-chart", min_width=320)
        with gr.Column(elem_classes="altub-card", elem_id="examples-card"):
            with gr.Row(elem_classes="altub-head"):
                gr.HTML(
                    "<h3>Heatmaps of test images</h3><p>The contour marks pixels above every held-out good image.</p>"
                )
                early = gr.Dropdown(
                    [],
                    label="Compare with epoch",
                    filterable=False,
                    scale=0,
                    min_width=220,
                    elem_id="early-epoch",
                )
            examples = gr.HTML(elem_id="examples")
        with gr.Column(elem_classes="altub-card", elem_id="drift-card"):
            with gr.Row(elem_classes="altub-head"):
                gr.HTML(
                    "<h3>Drift of the learned base</h3><p>Every channel starts at N(0, 1); AltUB learns its mean μ and "
                    "its spread σ.</p>"
                )
                head = gr.Dropdown([], label="Scale", filterable=False, scale=0, min_width=180, elem_id="drift-head")
                kind = gr.Dropdown(
                    [("mean μ", "mean"), ("spread log σ", "log_std")],
                    value="mean",
                    label="Parameter",
                    filterable=False,
                    scale=0,
                    min_width=150,
                    elem_id="drift-kind",
                )
            drift = gr.HTML(elem_id="drift-charts")
            channels = gr.HTML(elem_id="drift-picture")

    parts: dict[str, Any] = {
        "picker": picker,
        "stop": stop,
        "resume": resume,
        "status": status,
        "live": live,
        "tiles": tiles,
        "loss": loss,
        "metrics": metrics,
        "early": early,
        "examples": examples,
        "head": head,
        "drift": drift,
        "channels": channels,
        "timer": timer,
        "remembered": remembered,
    }
    inputs, outputs = [seen, visitor, remembered, kind, dark], [parts[name] for name in PARTS]
    drawing: dict[str, Any] = {**QUIET, "concurrency_limit": None}
    look = handlers.look
    timer.tick(look, inputs, outputs, **drawing)
    gr.on([demo.load, kind.input, dark.change], look, inputs, outputs, trigger_mode="always_last", **drawing)
    for field, choose in ((picker, handlers.choose_run), (early, handlers.choose_epoch), (head, handlers.choose_scale)):
        field.input(choose, [seen, field], None, **drawing).success(look, inputs, outputs, **drawing)
    demo.load(None, None, dark, js=IS_DARK_JS, **QUIET)
    demo.load(lambda known: known or visitors.new_visitor(), visitor, visitor, **QUIET)
    stop.click(handlers.stop, [seen, visitor], stop, **QUIET).success(look, inputs, outputs, **drawing)
    resume.click(handlers.resume, [seen, visitor], resume, **QUIET).success(look, inputs, outputs, **drawing)
    return Monitor(seen, visitor, inputs, outputs, dark)
