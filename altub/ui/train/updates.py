"""What changes on the right side of the Train tab from one look at a run to the next.

What a visitor chose lives in `Seen`, on the server; the page's lists only tell of a new choice. Were they read at every
look, a look that started before a choice would undo it when it ends, or fail since the choice is not in its older list.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from altub.evaluation.examples import kept_epochs, maps_file
from altub.training.records import EpochRecord
from altub.ui.train.curves import channel_picture, drift_charts, loss_chart, metric_chart, metric_tiles
from altub.ui.train.heatmaps import example_cards
from altub.ui.train.status import no_run_card, status_card
from altub.ui.watch import RunView, describe_view, stamp

__all__ = ["Seen", "Updates", "show_picker", "show_progress", "show_status"]

PATIENCE = 2.5  # seconds between two drawings of what takes a tenth of a second to draw, while epochs are short
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


class Updates:
    """Collects the updates of parts whose mark differs from the last look's. updates: name of a part -> its update."""

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


def show_picker(shown: Updates, views: list[RunView], view: RunView | None) -> None:
    """The list of runs with the shown one chosen."""
    choices = [(describe_view(other), other.id) for other in views]
    if view is not None and all(other.id != view.id for other in views):  # started after the list was made
        choices.insert(0, (describe_view(view), view.id))
    value = view and view.id
    shown.put("picker", (choices, value), lambda: gr.update(choices=choices, value=value))


def show_status(shown: Updates, view: RunView | None, events: list[EpochRecord], may_control: bool) -> None:
    """State and buttons."""
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


def show_progress(
    shown: Updates,
    view: RunView,
    events: list[EpochRecord],
    epoch: int | None,
    scale: int | None,
    picture: str,
    is_dark: bool,
) -> None:
    """Charts, heatmaps and the drift of the base. epoch, scale: as chosen, or None."""
    run = view.run
    progress = (run.id, len(events), events[-1].epoch if events else 0, stamp(run.path / "events.jsonl"))
    shown.put("loss", progress, lambda: loss_chart(events))
    shown.put("metrics", progress, lambda: metric_chart(events))
    shown.put("tiles", progress, lambda: metric_tiles(events))

    epochs = kept_epochs(run.examples_dir)
    earlier = epochs[:-1]
    epoch = epoch if epoch in earlier else (earlier[0] if earlier else NO_EARLY)
    shown.put("early", (run.id, earlier, epoch), lambda: gr.update(choices=earlier, value=epoch or None))
    newest = maps_file(run.examples_dir, epochs[-1]) if epochs else run.examples_dir
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
        lambda: channel_picture(view, events, scale, picture, is_dark),
        live=live,
    )
