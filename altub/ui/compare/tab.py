"""The Compare tab: runs side by side, their curves on one axis and how they differ.

What a visitor chose lives on the server, as in the Train tab (`altub.ui.train.updates` says why): the lists of the page
only report a new choice.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from altub.evaluation.compare import COMPARED
from altub.ui.choices import Choices
from altub.ui.compare.handlers import MOST_RUNS, OFFERED, Choice, Handlers
from altub.ui.compare.views import NO_RUNS
from altub.ui.html.zoom import ZOOM_JS
from altub.ui.watch import RunWatch

__all__ = ["build"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
LOOK_EVERY = 2.0  # seconds


def build(tab: gr.Tab, tabs: gr.Tabs, watch: RunWatch) -> None:
    """Fills the tab, which compares the runs of `watch`; call it inside `with gr.Tab(...)`, one of `tabs`."""
    choice, arrived = gr.State(Choice()), gr.Number(0, precision=0, visible=False)
    timer = gr.Timer(LOOK_EVERY, active=False)
    with gr.Column(elem_id="compare"):
        with gr.Row(elem_classes="altub-card", elem_id="compare-bar"):
            picker = Choices(
                [],
                label="Runs",
                multiselect=True,
                max_choices=MOST_RUNS,
                scale=4,
                min_width=280,
                elem_id="compare-runs",
            )
            metric = gr.Dropdown(
                [(COMPARED[name].title, name) for name in OFFERED],
                value=OFFERED[0],
                label="Metric",
                filterable=False,
                scale=1,
                min_width=160,
                elem_id="compare-metric",
            )
            together = gr.Checkbox(
                False,
                label="Group seeds",
                info="Same settings, other seed: mean and band",
                scale=1,
                min_width=200,
                elem_id="compare-together",
            )
            zoom = gr.Textbox(
                label="Epochs",
                info="Drag over the chart, or 10-40",
                placeholder="all",
                max_lines=1,
                scale=1,
                min_width=160,
                elem_id="compare-zoom",
            )
            log = gr.Checkbox(False, label="Logarithmic", scale=1, min_width=130, elem_id="compare-log")
        curves = gr.HTML(NO_RUNS, js_on_load=ZOOM_JS, elem_id="compare-chart")
        table = gr.HTML(elem_id="compare-table")
        differences = gr.HTML(elem_id="compare-settings")

    inputs, outputs = [choice, arrived], [picker, zoom, curves, table, differences, arrived]

    on = Handlers(watch)

    def look_while_open(event: gr.SelectData) -> gr.Timer:
        return gr.Timer(active=event.value == tab.label)

    tab.select(on.look, inputs, outputs, **QUIET)
    tabs.select(look_while_open, None, timer, **QUIET)
    timer.tick(on.look, inputs, outputs, **QUIET)
    curves.select(on.drag_zoom, choice, None, **QUIET).success(on.look, inputs, outputs, **QUIET)
    curves.clear(on.clear_zoom, choice, None, **QUIET).success(on.look, inputs, outputs, **QUIET)
    for event in (zoom.submit, zoom.blur):
        event(on.type_zoom, [choice, zoom], None, **QUIET).success(on.look, inputs, outputs, **QUIET)
    for component, note in (
        (log, on.choose_log),
        (picker, on.choose_runs),
        (metric, on.choose_metric),
        (together, on.choose_together),
    ):
        component.input(note, [choice, component], None, **QUIET).success(on.look, inputs, outputs, **QUIET)
