"""The drift watch of the Line tab: over everything that the chosen model has inspected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from altub.errors import AltUBError, RunError
from altub.inference.model_cache import read_model_config
from altub.runs.run import Run
from altub.ui.choices import Choices
from altub.ui.errors import notice, show_errors, without_folders
from altub.ui.line import drift_views as views
from altub.ui.marks import stamp, stamp_field
from altub.ui.offers import find_model, list_offers
from altub.ui.services import Services

__all__ = ["QUIET", "DriftCard", "DriftHandlers", "build_drift"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
EVERYTHING = "*"  # value of the field of the source; no source has this name
ABOUT = (
    "Score, brightness, colour and sharpness of every inspected image, in the order of inspection. The alarm may be "
    "looked at after each image: on a line that does not change, at most 1 % of watches ever give one."
)


@dataclass(frozen=True)
class DriftCard:
    """What others need: the chosen model, the button that leads to adapting it, and how to look again."""

    run: gr.Dropdown
    adapt: gr.Button
    look: dict[str, Any]


class DriftHandlers:
    """The card's handlers; each validates its arguments.

    Args:
        services: the models, the inspection log and the histories.
        may_change: may visitors let a watch begin anew?
        is_local: only its owner reaches the page, who may read the names of folders.
    """

    def __init__(self, services: Services, *, may_change: bool, is_local: bool) -> None:
        self.services, self.may_change, self.is_local = services, may_change, is_local

    def list_runs(self, run_id: Any) -> list[Any]:
        """The runs with a model; a choice is kept while its run is there."""
        choices = [(offer.label, offer.id) for offer in list_offers()]
        known = [offer_id for _, offer_id in choices]
        chosen = run_id if run_id in known else (known[0] if known else None)
        return [gr.Dropdown(choices=choices, value=chosen, interactive=bool(known)), gr.Timer(active=True)]

    def look(self, run_id: Any, source: Any, seen: Any) -> list[Any]:
        """Everything of the card, where it has changed since it was `seen`."""
        if not run_id:
            return self._nothing(views.NO_MODEL)
        try:
            run = _run(run_id)
            model = self.services.models.get(run.model_dir)
            log = self.services.recorder.log
            chosen = source if isinstance(source, str) and source != EVERYTHING else None
            history = self.services.histories.get(log, model.weights_sha256, chosen)
            version = read_model_config(run.model_dir).version
        except AltUBError as error:
            return self._nothing(f'<div class="nothing-yet">{notice(without_folders(error))}</div>')
        threshold, calibration = model.detector.threshold, model.detector.require_calibration()
        now = stamp(model.weights_sha256, threshold.value, chosen, history.images, history.began)
        if now == seen:
            return [gr.skip()] * 8
        sources = log.sources(model.weights_sha256)
        folders = self.services.folders.names() if self.is_local else {}
        choices = [("All", EVERYTHING)] + [(views.source_name(name, folders), name) for name in sources]
        alarmed = history.watch.alarm is not None
        return [
            views.state_html(history, None if version is None else version.number),
            views.score_chart(history, calibration, threshold),
            views.capital_chart(history),
            views.streams_table(history.watch),
            gr.Dropdown(choices=choices, value=source if chosen in sources else EVERYTHING, visible=len(sources) > 1),
            gr.Button(visible=alarmed),
            gr.Button(visible=alarmed and self.may_change),
            now,
        ]

    def _nothing(self, words: str) -> list[Any]:
        hidden = gr.Button(visible=False)
        return [words, "", "", "", gr.Dropdown(visible=False), hidden, hidden, []]

    @show_errors("Watch not restarted")
    def begin_anew(self, run_id: Any, source: Any) -> list[Any]:
        """After an alarm that a person looked into: later images count."""
        if not self.may_change:
            raise RunError("Only the owner of this page can let a watch begin anew.")
        model = self.services.models.get(_run(run_id).model_dir)
        self.services.recorder.log.begin_anew(model.weights_sha256)
        return self.look(run_id, source, None)


def build_drift(demo: gr.Blocks, tab: gr.Tab, services: Services, *, may_change: bool, is_local: bool) -> DriftCard:
    """Lays the card out and connects it; arguments as of `DriftHandlers`."""
    on = DriftHandlers(services, may_change=may_change, is_local=is_local)
    timer, seen = gr.Timer(2.0, active=False), stamp_field()
    with gr.Column(elem_id="line-drift", elem_classes="altub-card"):
        with gr.Row(elem_id="line-bar"):
            run = Choices([], label="Model", scale=3, min_width=260, elem_id="line-run")
            source = Choices(
                [("All", EVERYTHING)],
                value=EVERYTHING,
                label="Inspected by",
                visible=False,
                scale=1,
                min_width=180,
                elem_id="line-source",
            )
        state = gr.HTML(elem_id="line-state")
        with gr.Row(elem_id="line-alarm-actions"):
            adapt = gr.Button("Adapt model", variant="primary", size="md", scale=0, min_width=140, visible=False)
            anew = gr.Button("Begin anew", size="md", scale=0, min_width=130, visible=False, elem_id="line-anew")
        with gr.Row(elem_id="line-charts", equal_height=False):
            scores = gr.HTML(elem_id="line-scores")
            capital = gr.HTML(elem_id="line-capital")
        table = gr.HTML(elem_id="line-streams")
        gr.HTML(f'<p class="hint">{ABOUT}</p>')
    shown = [state, scores, capital, table, source, adapt, anew, seen]
    look = {"fn": on.look, "inputs": [run, source, seen], "outputs": shown, **QUIET}
    gr.on([demo.load, tab.select], on.list_runs, run, [run, timer], **QUIET).then(**look)
    timer.tick(**look)
    gr.on([run.input, source.input], **look)
    anew.click(on.begin_anew, [run, source], shown, **QUIET)
    return DriftCard(run, adapt, look)


def _run(run_id: Any) -> Run:
    """
    Raises:
        RunError: there is no such run, or it has no model.
    """
    if not isinstance(run_id, str) or not run_id:
        raise RunError("Choose a model.").at("run")
    return find_model(run_id)
