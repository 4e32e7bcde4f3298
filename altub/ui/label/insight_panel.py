"""The panel of what the labels say: its layout, and its handlers."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import gradio as gr

from altub.errors import AltUBError, ConfigError, LabelError
from altub.inference.model_files import read_config
from altub.inference.versions import list_versions, restore_version, save_threshold
from altub.labels import extend_calibration
from altub.ui.errors import notice, show_errors
from altub.ui.label.choice import Choice, load_model
from altub.ui.label.desk import EXPIRED, LabelDesk
from altub.ui.label.insight import (
    GOALS,
    RATIOS,
    Goal,
    extension_html,
    found_threshold,
    insight_html,
    sample_of,
)
from altub.ui.services import Services

__all__ = ["InsightPanel"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
DEFAULT_RATIO = RATIOS.index(20)
OPEN_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-image]');
  if (button) dispatchEvent(new CustomEvent('altub-label-open', {detail: button.dataset.image}));
});"""


class InsightPanel:
    """Lays the panel out; `connect` wires it."""

    def __init__(self, services: Services, desk: LabelDesk) -> None:
        self.services, self.desk = services, desk
        with gr.Column(elem_id="label-insight", elem_classes="label-card"):
            gr.HTML("<h3>What the labels say</h3>")
            with gr.Row(elem_id="label-goal"):
                self.goal = gr.Radio(list(GOALS), value="own", label="Threshold", elem_id="label-goal-kind")
                slider = partial(gr.Slider, visible=False, buttons=[])
                self.recall = slider(50, 99.9, value=95, step=0.1, label="Recall (%)", elem_id="label-recall")
                self.rate = slider(0.1, 30, value=5, step=0.1, label="False alarms (%)", elem_id="label-rate")
                self.ratio = slider(
                    0,
                    len(RATIOS) - 1,
                    value=DEFAULT_RATIO,
                    step=1,
                    label=_ratio_label(DEFAULT_RATIO),
                    elem_id="label-ratio",
                )
                self.confidence = slider(50, 99, value=90, step=1, label="Confidence (%)", elem_id="label-confidence")
            self.view = gr.HTML(js_on_load=OPEN_JS, apply_default_css=False, elem_id="label-insight-view")
            with gr.Row(elem_id="label-threshold"):
                self.use = gr.Button(
                    "Use as threshold", variant="primary", size="md", interactive=False, elem_id="label-use-threshold"
                )
                self.versions = gr.Dropdown(
                    [], label="Versions", allow_custom_value=True, visible=False, elem_id="label-versions"
                )
                self.restore = gr.Button("Restore", size="md", visible=False, elem_id="label-restore")
            with gr.Row(elem_id="label-calibration"):
                self.extend = gr.Button(
                    "Extend calibration", size="md", interactive=False, visible=False, elem_id="label-extend"
                )
                self.extension = gr.HTML(apply_default_css=False, elem_id="label-extension")

    def connect(self, canvas: gr.HTML, value: gr.State, scored: gr.State, fields: list[Any]) -> None:
        """Wires the panel to the canvas, the state of the page, the ends of scorings and the fields of the queue."""
        goal = [self.goal, self.recall, self.rate, self.ratio, self.confidence]
        inputs = [value, *fields, *goal]
        shown = [self.view, self.use, self.versions, self.restore, self.extension, self.extend]
        for event in (canvas.labelled, value.change, scored.change):
            event(self.look, inputs, shown, trigger_mode="always_last", **QUIET)
        self.goal.input(self.choose_goal, self.goal, goal[1:], **QUIET).then(self.look, inputs, shown, **QUIET)
        gr.on(
            [self.recall.input, self.rate.input, self.confidence.input],
            self.look,
            inputs,
            shown,
            trigger_mode="always_last",
            **QUIET,
        )
        self.ratio.input(self.name_ratio, self.ratio, self.ratio, trigger_mode="always_last", **QUIET).then(
            self.look, inputs, shown, **QUIET
        )
        changes = {"outputs": [canvas, value, *shown], "api_visibility": "private", "show_progress_on": self.view}
        self.use.click(self.use_threshold, inputs, **changes)
        self.restore.click(self.restore_version, [self.versions, *inputs], **changes)
        self.extend.click(self.extend_calibration, inputs, **changes)

    # Handlers.

    def look(self, value: Any, *everything: Any) -> tuple:
        """All of the panel; an error becomes its text."""
        fields, goal = everything[:5], everything[5:]
        if self._who(value) is None:
            return tuple(gr.skip() for _ in range(6))
        versions, extension, extendable = ([], None), "", False
        try:
            choice, store = _choice(fields), self.services.labels
            model = load_model(self.services.models, choice.run_id)
            known = sample_of(store, model, choice.source) if model else None
            html, usable = insight_html(store, model, choice.source, Goal.of(*goal), known)
            if model and known:
                extension, extendable = extension_html(store, model, choice.source, known[0])
                versions = _version_choices(model.run.model_dir)
        except AltUBError as error:
            html, usable = f'<p class="insight-empty">{notice(error)}</p>', False
        choices, current = versions
        return (
            html,
            gr.Button(interactive=usable),
            gr.Dropdown(choices=choices, value=current, visible=len(choices) > 1),
            gr.Button(visible=len(choices) > 1),
            extension,
            gr.Button(interactive=extendable, visible=bool(extension)),
        )

    @staticmethod
    def choose_goal(kind: Any) -> tuple:
        """The sliders that belong to a goal: recall, rate, ratio, confidence."""
        promised = kind in ("recall", "false-alarm-rate")
        return (
            gr.Slider(visible=kind == "recall"),
            gr.Slider(visible=kind == "false-alarm-rate"),
            gr.Slider(visible=kind == "cost"),
            gr.Slider(visible=promised),
        )

    @staticmethod
    def name_ratio(position: Any) -> Any:
        """The cost slider with what its position means."""
        return gr.Slider(label=_ratio_label(position)) if position in range(len(RATIOS)) else gr.skip()

    @show_errors("Threshold not set")
    def use_threshold(self, value: Any, *everything: Any) -> tuple:
        """Makes the threshold of the goal the model's own, as a new version."""
        fields, goal = everything[:5], Goal.of(*everything[5:])
        who = self._who(value)
        if who is None:
            raise LabelError(EXPIRED)
        choice = _choice(fields)
        model = load_model(self.services.models, choice.run_id)
        if model is None or goal.kind == "own":
            raise ConfigError("Choose a model and what the threshold should do.")
        sample, _ = sample_of(self.services.labels, model, choice.source)
        threshold = found_threshold(sample, model, goal)
        version = save_threshold(model.run.model_dir, threshold, threshold.origin.promise, author=who)
        gr.Info(notice(f"Version {version.number} is in use. {threshold.origin.promise}"))
        return self._changed(value, everything)

    @show_errors("Calibration not extended")
    def extend_calibration(self, value: Any, *everything: Any) -> tuple:
        """Lets randomly drawn good labels join the model's calibration, as a new version."""
        who = self._who(value)
        if who is None:
            raise LabelError(EXPIRED)
        choice = _choice(everything[:5])
        model = load_model(self.services.models, choice.run_id)
        if model is None:
            raise ConfigError("Choose a model first.")
        found, version = extend_calibration(model.run.model_dir, self.services.labels, choice.source, author=who)
        gr.Info(notice(f"Version {version.number} is in use. {found.note}"))
        return self._changed(value, everything)

    @show_errors("Version not restored")
    def restore_version(self, number: Any, value: Any, *everything: Any) -> tuple:
        """Puts another version of the model in use."""
        choice = _choice(everything[:5])
        model = load_model(self.services.models, choice.run_id)
        if self._who(value) is None or model is None:
            raise LabelError(EXPIRED)
        try:
            wanted = int(number)
        except (TypeError, ValueError):
            raise ConfigError("Choose a version first.") from None
        version = restore_version(model.run.model_dir, wanted)
        gr.Info(notice(f"Version {version.number} is in use again."))
        return self._changed(value, everything)

    def _changed(self, value: dict, everything: tuple) -> tuple:
        """The canvas looks at the model again: its threshold moved, and so do proposals."""
        again = value | {"revision": time.time()}
        return again, again, *self.look(again, *everything)

    def _who(self, value: Any) -> str | None:
        return self.desk.who(value.get("token")) if isinstance(value, dict) else None


def _choice(fields: tuple) -> Choice:
    return Choice.of(dict(zip(("run", "show", "order", "source", "type"), fields, strict=True)))


def _ratio_label(position: float) -> str:
    return f"A missed defect costs {RATIOS[int(position)]} false alarms"


def _version_choices(folder: Any) -> tuple[list[tuple[str, str]], str | None]:
    current = read_config(folder).version
    choices = []
    for version in reversed(list_versions(folder)):
        made = time.strftime("%d %b %H:%M", time.localtime(version.created))
        used = " (in use)" if current is not None and version.number == current.number else ""
        text = f"{version.number} · {made}{used} · {version.note}"
        choices.append((text if len(text) < 110 else text[:109] + "…", str(version.number)))
    return choices, None if current is None else str(current.number)
