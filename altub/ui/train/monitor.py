"""The right side of the Train tab: one run as its directory tells it, looked at once a second.

Nothing lives in the page: a reload, a second window or a restarted server finds the same run in the same state. What a
visitor chose lives in `Seen`, on the server; the page's lists only tell of a new choice. Were they asked at every look,
a look that began before a choice would take it back when it ends, or fail since the choice is not in its older list.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from altub.deploy.server import visitors
from altub.errors import AltUBError
from altub.plots import channel_drift_image
from altub.training.records import EpochRecord
from altub.ui.html.pictures import data_uri
from altub.ui.services import Services
from altub.ui.theme import IS_DARK_JS
from altub.ui.train.curves import drift_charts, loss_chart, metric_chart, metric_tiles
from altub.ui.train.heatmaps import example_cards, kept_epochs
from altub.ui.train.status import no_run_card, status_card
from altub.ui.watch import RunView, RunWatch, describe_view, stamp

__all__ = ["Monitor", "Seen", "build_monitor"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
LIVELY, CALM = 1.0, 4.0  # seconds between two looks while something trains, and while nothing does
PATIENCE = 2.5  # seconds between two drawings of what takes a tenth of a second to draw, while epochs fly by
NO_EARLY = 0  # the early epoch when none is chosen yet


class Seen:
    """What one visitor chose, and what their page shows of it.

    run_id: None until there is a run. epoch, scale: of the examples and of the drift; None = as the run suggests.
    marks: what every part of the page was drawn from. lock: looks of one visitor follow each other.
    """

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.epoch: int | None = None
        self.scale: int | None = None
        self.marks: dict[str, Any] = {}
        self.lock = threading.RLock()

    def __deepcopy__(self, _memo: dict) -> Seen:
        return Seen()  # every visitor's own

    def choose(self, run_id: str) -> None:
        """Another run, with nothing chosen in it yet."""
        with self.lock:
            self.run_id, self.epoch, self.scale = run_id, None, None


@dataclass(frozen=True)
class Monitor:
    """seen: the visitor's `Seen`. visitor: the word they are known by on a Space. look, inputs, outputs: what draws
    the panel. dark: is the page dark?"""

    seen: gr.State
    visitor: gr.BrowserState
    look: Callable[..., list[Any]]
    inputs: list[Any]
    outputs: list[Any]
    dark: gr.Checkbox


def build_monitor(demo: gr.Blocks, services: Services) -> Monitor:
    """Lays the panel out and connects it."""
    watch = services.watch
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
                    "<h3>Heatmaps of test images</h3><p>The line marks what lies above every held-out good image.</p>"
                )
                early = gr.Dropdown(
                    [],
                    label="Compare the latest with epoch",
                    filterable=False,
                    scale=0,
                    min_width=220,
                    elem_id="early-epoch",
                )
            examples = gr.HTML(elem_id="examples")
        with gr.Column(elem_classes="altub-card", elem_id="drift-card"):
            with gr.Row(elem_classes="altub-head"):
                gr.HTML(
                    "<h3>Drift of the learned base</h3><p>Every channel begins at N(0, 1). AltUB lets its mean μ and "
                    "its spread σ follow the good images.</p>"
                )
                head = gr.Dropdown([], label="Scale", filterable=False, scale=0, min_width=180, elem_id="drift-head")
                kind = gr.Dropdown(
                    [("mean μ", "mean"), ("spread log σ", "log_std")],
                    value="mean",
                    label="Picture of",
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
    }

    def look(seen: Seen, visitor: str, wish: Any, picture: str, is_dark: bool) -> list[Any]:
        """What changed since the page was drawn last; everything else is skipped."""
        with seen.lock:
            shown = _Shown(dict(seen.marks))
            views = watch.views()
            view = watch.view(seen.run_id)
            if view is None:
                view = watch.view(watch.choose(wish if isinstance(wish, str) else None))
                if view is not None:
                    seen.choose(view.id)
            _show_picker(shown, views, view)
            events = watch.events(view.run) if view is not None else []
            _show_status(shown, view, events, view is not None and visitors.may_control(view.run, visitor))
            if view is not None:
                _show_progress(shown, view, events, seen.epoch, seen.scale, picture, bool(is_dark))
                shown.put("remembered", view.id, lambda: view.id)
            busy = any(other.is_active for other in views)
            shown.put("timer", busy, lambda: gr.Timer(LIVELY if busy else CALM))
            seen.marks = shown.marks
        return [shown.updates.get(name, gr.skip()) for name in parts]

    parts["remembered"] = remembered
    inputs, outputs = [seen, visitor, remembered, kind, dark], list(parts.values())

    def choose_run(seen: Seen, run_id: str | None) -> None:
        seen.choose(_wanted(watch, run_id).id)

    def choose_epoch(seen: Seen, epoch: int | None) -> None:
        seen.epoch = epoch

    def choose_scale(seen: Seen, scale: int | None) -> None:
        seen.scale = scale

    drawing: dict[str, Any] = {**QUIET, "concurrency_limit": None}
    timer.tick(look, inputs, outputs, **drawing)
    gr.on([demo.load, kind.input, dark.change], look, inputs, outputs, trigger_mode="always_last", **drawing)
    for chosen, note in ((picker, choose_run), (early, choose_epoch), (head, choose_scale)):
        chosen.input(note, [seen, chosen], None, **drawing).success(look, inputs, outputs, **drawing)
    demo.load(None, None, dark, js=IS_DARK_JS, **QUIET)
    demo.load(lambda known: known or visitors.new_visitor(), visitor, visitor, **QUIET)

    def ask_stop(seen: Seen, visitor: str) -> Any:
        view = _wanted(watch, seen.run_id)
        try:
            note = services.stop_training(view.run, visitor)
        except AltUBError as error:
            raise gr.Error(str(error)) from error
        gr.Info(note)
        return gr.update(interactive=False)

    def ask_resume(seen: Seen, visitor: str) -> Any:
        view = _wanted(watch, seen.run_id)
        try:
            services.resume_training(view.run, visitor)
        except AltUBError as error:
            raise gr.Error(str(error)) from error
        return gr.update(interactive=False)

    stop.click(ask_stop, [seen, visitor], stop, **QUIET).success(look, inputs, outputs, **drawing)
    resume.click(ask_resume, [seen, visitor], resume, **QUIET).success(look, inputs, outputs, **drawing)
    return Monitor(seen, visitor, look, inputs, outputs, dark)


class _Shown:
    """Collects updates of what differs from the marks of the last time."""

    def __init__(self, marks: dict[str, Any]) -> None:
        self.marks, self.updates = marks, {}

    def put(self, name: str, mark: Any, make: Callable[[], Any]) -> None:
        """Adds `make()` as the update of `name` if `mark` is new."""
        mark = repr(mark)
        if self.marks.get(name) != mark:
            self.marks[name] = mark
            self.updates[name] = make()

    def put_calmly(self, name: str, chosen: Any, state: Any, make: Callable[[], Any], *, live: bool) -> None:
        """The same for what takes long to draw: while a run is live a new `state` alone waits for `PATIENCE`."""
        last_choice, drawn_at = self.marks.get(f"{name} drawn", (None, 0.0))
        if live and last_choice == repr(chosen) and time.monotonic() - drawn_at < PATIENCE:
            return
        before = len(self.updates)
        self.put(name, (chosen, state), make)
        if len(self.updates) > before:
            self.marks[f"{name} drawn"] = (repr(chosen), time.monotonic())


def _show_picker(shown: _Shown, views: list[RunView], view: RunView | None) -> None:
    choices = [(describe_view(other), other.id) for other in views]
    if view is not None and all(other.id != view.id for other in views):  # begun after the list was made
        choices.insert(0, (describe_view(view), view.id))
    value = view and view.id
    shown.put("picker", (choices, value), lambda: gr.update(choices=choices, value=value))


def _show_status(shown: _Shown, view: RunView | None, events: list[EpochRecord], may_control: bool) -> None:
    shown.put("live", view is not None, lambda: gr.update(visible=view is not None))
    stoppable = may_control and view.is_active and not view.run.stop_requested()
    resumable = may_control and view.state in ("stopped", "failed", "interrupted")
    run_id = view and view.id
    shown.put("stop", (run_id, view and view.state, stoppable), lambda: gr.update(interactive=stoppable))
    shown.put("resume", (run_id, view and view.state, resumable), lambda: gr.update(interactive=resumable))
    if view is None:
        shown.put("status", None, no_run_card)
        return
    speed = events[-1].images_per_second if events else None
    card = status_card(view, speed)
    shown.put("status", card, lambda: card)


def _show_progress(
    shown: _Shown,
    view: RunView,
    events: list[EpochRecord],
    epoch: int | None,
    scale: int | None,
    picture: str,
    is_dark: bool,
) -> None:
    run = view.run
    progress = (run.id, len(events), events[-1].epoch if events else 0, stamp(run.path / "events.jsonl"))
    shown.put("loss", progress, lambda: loss_chart(events))
    shown.put("metrics", progress, lambda: metric_chart(events))
    shown.put("tiles", progress, lambda: metric_tiles(*run.last_and_best()))

    epochs = kept_epochs(run)
    earlier = epochs[:-1]
    epoch = epoch if epoch in earlier else (earlier[0] if earlier else NO_EARLY)
    shown.put("early", (run.id, earlier, epoch), lambda: gr.update(choices=earlier, value=epoch or None))
    newest = run.examples_dir / f"epoch_{epochs[-1]:05d}.npz" if epochs else run.examples_dir
    live = view.state == "running"
    shown.put_calmly(
        "examples", (run.id, epoch), (epochs[-1:], stamp(newest)), lambda: example_cards(run, epoch), live=live
    )

    heads = events[-1].heads if events else 0
    scale = scale if isinstance(scale, int) and 0 <= scale < heads else 0
    names = [(f"{k + 1} of {heads}" + (" (finest)" if k == 0 and heads > 1 else ""), k) for k in range(heads)]
    shown.put("head", (run.id, heads, scale), lambda: gr.update(choices=names, value=scale if heads else None))
    update = view.config.base.base_update
    shown.put("drift", (progress, scale), lambda: drift_charts(events, scale, update))
    picture = picture if picture in ("mean", "log_std") else "mean"
    shown.put_calmly(
        "channels",
        (run.id, scale, picture, is_dark),
        stamp(run.path / "base_history.npz"),
        lambda: _channel_picture(view, events, scale, picture, is_dark),
        live=live,
    )


def _channel_picture(view: RunView, events: list[EpochRecord], scale: int, picture: str, is_dark: bool) -> str:
    history = view.run.base_history()
    if view.config.base.base_update == "off" or scale >= len(history):
        return ""
    values = history[scale][0 if picture == "mean" else 1][1:]  # row 0 is N(0, I) before the first epoch
    if not len(values):
        return ""
    base_trained = [record.base_trained for record in events][: len(values)]
    image = channel_drift_image(values, picture, base_trained, dark=is_dark, size=(900, 320))
    return f'<img src="{data_uri(image, lossless=True)}" alt="Every channel of the base by epochs">'


def _wanted(watch: RunWatch, run_id: str | None) -> RunView:
    view = watch.view(run_id) if isinstance(run_id, str) else None
    if view is None:
        raise gr.Error("This run was removed: choose another one.")
    return view
