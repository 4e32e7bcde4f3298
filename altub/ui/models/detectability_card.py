"""The card of the Models tab that measures the smallest defects that a model finds."""

from __future__ import annotations

from typing import Any

import gradio as gr

from altub.errors import AltUBError, about
from altub.runs.run import Run
from altub.ui.errors import notice, show_errors
from altub.ui.marks import stamp, stamp_field
from altub.ui.models import detectability_views as views
from altub.ui.models.detectability_work import CONTRASTS, Measurement, read_scale
from altub.ui.offers import find_model, list_offers

__all__ = ["build_detectability"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
POLL = 1.0  # seconds between two looks while something is measured
NOT_HERE = "Only whoever runs this page can measure: it takes all cores for minutes."


def build_detectability(demo: gr.Blocks, tab: gr.Tab, *, may_measure: bool) -> None:
    """Adds the card.

    Args:
        may_measure: whoever reaches the page may use its machine for that.
    """
    measurement, shown_now = gr.State(Measurement()), stamp_field()
    timer = gr.Timer(POLL, active=False)
    with gr.Column(elem_id="detectability", elem_classes="hub-card"):
        gr.HTML(f'<h3>Smallest defects that a model finds</h3><p class="hub-note">{views.ABOUT}</p>')
        with gr.Row():
            run = gr.Dropdown([], label="Model", allow_custom_value=True, scale=3, min_width=260, elem_id="pod-run")
            contrast = gr.Dropdown(
                [(name, value) for value, name in CONTRASTS.items()],
                value=0.25,
                label="Contrast",
                info="How much a defect's pixels change",
                filterable=False,
                min_width=150,
                elem_id="pod-contrast",
            )
            # No gr.Number: an empty one shows, and sends, a 0.
            scale = gr.Textbox(
                label="Scale",
                info="mm per pixel; empty: sizes in pixels",
                placeholder="0.08",
                max_lines=1,
                min_width=150,
                elem_id="pod-scale",
            )
        with gr.Row(visible=may_measure):
            begin = gr.Button("Measure", variant="primary", min_width=120, scale=0, elem_id="pod-measure")
            stop = gr.Button("Stop", visible=False, min_width=90, scale=0, elem_id="pod-stop")
        if not may_measure:
            gr.HTML(f'<p class="hub-note">{NOT_HERE}</p>')
        state = gr.HTML(elem_id="pod-state")
        result = gr.HTML(views.NO_RUN, elem_id="pod-result")

    def look(measurement: Measurement, shown: Any, run_id: Any, scale: Any) -> list[Any]:
        """How the measurement is going, and the result if it is not the one that is shown."""
        task, chosen = measurement.task, _find(run_id)
        try:
            factor = read_scale(scale)
        except AltUBError:  # while it is being typed
            factor = None
        now = stamp(None if chosen is None else views.result_stamp(chosen), factor)
        running = task.is_running
        return [
            views.task_html(task, measurement.run_id),
            gr.skip() if shown == now else views.result_html(chosen, factor),
            now,
            gr.Timer(active=running),
            gr.Button(interactive=not running),
            gr.Button(visible=running),
        ]

    def list_runs(measurement: Measurement, shown: Any, run_id: Any, scale: Any) -> list[Any]:
        """The runs with a model; a choice is kept while its run is there."""
        choices = [(offer.label, offer.id) for offer in list_offers()]
        known = [offer_id for _, offer_id in choices]
        chosen = run_id if run_id in known else (known[0] if known else None)
        return [gr.Dropdown(choices=choices, value=chosen), *look(measurement, shown, chosen, scale)]

    @show_errors("Measurement not started", fields={"run": "pod-run", "scale": "pod-scale"})
    def start(measurement: Measurement, shown: Any, run_id: Any, scale: Any, contrast: Any) -> list[Any]:
        if not may_measure:
            raise gr.Error(notice(NOT_HERE), print_exception=False)
        with about("run"):
            chosen = find_model(str(run_id or ""))
        with about("scale"):
            factor = read_scale(scale)
        if not measurement.start(chosen, contrast, factor):
            gr.Warning("Another model is being measured: wait for its end, or stop it.")
        *shown_parts, _, _, _ = look(measurement, shown, run_id, scale)
        return [*shown_parts, gr.Timer(active=True), gr.Button(interactive=False), gr.Button(visible=True)]

    def end(measurement: Measurement) -> None:
        if may_measure:
            measurement.task.stop()

    given = [measurement, shown_now, run, scale]
    parts = [state, result, shown_now, timer, begin, stop]
    begin.click(start, [*given, contrast], parts, **QUIET)
    stop.click(end, measurement, None, **QUIET)
    timer.tick(look, given, parts, **QUIET)
    gr.on([demo.load, tab.select], list_runs, given, [run, *parts], **QUIET)
    gr.on([run.input, scale.change], look, given, parts, **QUIET)


def _find(run_id: Any) -> Run | None:
    try:
        return find_model(str(run_id or ""))
    except AltUBError:
        return None
