"""What changes on the right side of the Train tab from one look at a run to the next.

What a visitor chose lives in `Seen`, on the server; the page's lists only tell of a new choice. Were they read at every
look, a look that started before a choice would undo it when it ends, or fail since the choice is not in its older list.
"""

from __future__ import annotations

import threading

import gradio as gr

from altub.deploy.server import visitors
from altub.evaluation.examples import kept_epochs, maps_file
from altub.inference.model_files import CONFIG_FILE
from altub.runs.run import Run
from altub.training.records import EpochRecord
from altub.ui.html.zoom import Range, range_text
from altub.ui.marks import Sent, Updates
from altub.ui.train.curves import channel_map, drift_charts, loss_chart, metric_chart, metric_tiles
from altub.ui.train.heatmaps import example_cards
from altub.ui.train.queue_list import queue_list
from altub.ui.train.status import no_run_card, now_line, status_card
from altub.ui.watch import RunView, describe_view, stamp

__all__ = ["Seen", "early_epoch", "show_empty", "show_picker", "show_progress", "show_queue", "show_status"]

PATIENCE = 2.5  # seconds between two drawings of what takes a tenth of a second to draw, while a run trains


class Seen:
    """What one visitor chose, and what their page shows of it.

    run_id: None until there is a run. epoch, scale: of the examples and of the drift; None = as the run suggests.
    zoom: epochs that the charts show; None = all. log: is the loss drawn on a logarithmic axis?
    marks: what every part of the page was drawn from (`altub.ui.marks`). lock: looks of one visitor follow each other.
    """

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.epoch: int | None = None
        self.scale: int | None = None
        self.zoom: Range | None = None
        self.log = False
        self.marks: dict[str, Sent] = {}
        self.lock = threading.RLock()

    def __deepcopy__(self, _memo: dict) -> Seen:
        return Seen()  # every visitor's own

    def choose(self, run_id: str) -> None:
        """Another run, with nothing chosen in it yet."""
        with self.lock:
            self.run_id, self.epoch, self.scale, self.zoom = run_id, None, None, None


def show_picker(shown: Updates, views: list[RunView], view: RunView | None) -> None:
    """The list of runs with the shown one chosen."""
    choices = [(describe_view(other), other.id) for other in views]
    if view is not None and all(other.id != view.id for other in views):  # started after the list was made
        choices.insert(0, (describe_view(view), view.id))
    value = view and view.id
    shown.put("picker", (choices, value), lambda: gr.update(choices=choices, value=value))


def early_epoch(run: Run, chosen: int | None) -> int | None:
    """The epoch beside the latest: the chosen one, else the first; None where there is one alone."""
    earlier = kept_epochs(run.examples_dir)[:-1]
    return chosen if chosen in earlier else (earlier[0] if earlier else None)


def show_empty(shown: Updates, views: list[RunView]) -> None:
    """The list of runs, or the button that makes the first one."""
    shown.put("runs", bool(views), lambda: gr.update(visible=bool(views)))
    shown.put("first", bool(views), lambda: gr.update(visible=not views))


def show_queue(shown: Updates, waiting: list[RunView], visitor: str) -> None:
    """The trainings that wait, in their order."""
    order = sorted(waiting, key=lambda view: (view.status.queued_at, view.id))
    listed = queue_list(order, [visitors.may_control(view.run, visitor) for view in order])
    shown.put("queue", listed, lambda: listed)


def show_status(shown: Updates, view: RunView | None, events: list[EpochRecord], may_control: bool) -> None:
    """State and buttons."""
    shown.put("live", view is not None, lambda: gr.update(visible=view is not None))
    stoppable = may_control and view.is_active and not view.run.stop_requested()
    resumable = may_control and view.state in ("stopped", "failed", "interrupted")
    run_id = view and view.id
    inspectable = view is not None and not view.is_active and (view.run.model_dir / CONFIG_FILE).is_file()
    for name, wanted in (("stop", stoppable), ("resume", resumable), ("inspect", inspectable)):
        # Interactive again: the click on it made it wait for the next look.
        update = gr.update(visible=wanted, interactive=wanted)
        shown.put(name, (run_id, view and view.state, wanted), lambda update=update: update)
    if view is None:
        shown.put("status", None, no_run_card)
        shown.put("now", None, lambda: "")
        return
    line = now_line(view)
    shown.put("now", line, lambda: line)
    speed = events[-1].images_per_second if events else None
    card = status_card(view, speed)
    shown.put("status", card, lambda: card)


def show_progress(shown: Updates, view: RunView, events: list[EpochRecord], seen: Seen, kind: str) -> None:
    """Charts, heatmaps and the drift of the base. kind: of the drift's map, "mean" or "log_std"."""
    run, zoom = view.run, seen.zoom
    epoch, scale = seen.epoch, seen.scale
    recorded = (run.id, len(events), events[-1].epoch if events else 0, stamp(run.path / "events.jsonl"))
    progress = (recorded, zoom)
    shown.put("zoom", (run.id, zoom), lambda: range_text(zoom))
    shown.put("loss", (progress, seen.log), lambda: loss_chart(events, zoom, seen.log))
    shown.put("metrics", progress, lambda: metric_chart(events, zoom))
    shown.put("tiles", recorded, lambda: metric_tiles(events))

    epochs = kept_epochs(run.examples_dir)
    earlier, epoch = epochs[:-1], early_epoch(run, epoch)
    shown.put("early", (run.id, earlier, epoch), lambda: gr.update(choices=earlier, value=epoch))
    newest = maps_file(run.examples_dir, epochs[-1]) if epochs else run.examples_dir
    patience = PATIENCE if view.state == "running" else 0.0
    shown.put_calmly(
        "examples", (run.id, epoch), (epochs[-1:], stamp(newest)), lambda: example_cards(run, epoch), patience=patience
    )

    heads = events[-1].heads if events else 0
    scale = scale if isinstance(scale, int) and 0 <= scale < heads else 0
    names = [(f"{k + 1} of {heads}" + (" (finest)" if k == 0 and heads > 1 else ""), k) for k in range(heads)]
    shown.put("head", (run.id, heads, scale), lambda: gr.update(choices=names, value=scale if heads else None))
    update = view.config.base.base_update
    shown.put("drift", (progress, scale), lambda: drift_charts(events, scale, update, zoom))
    kind = kind if kind in ("mean", "log_std") else "mean"
    shown.put_calmly(
        "channels",
        (run.id, scale, kind, zoom),
        stamp(run.path / "base_history.npz"),
        lambda: channel_map(view, events, scale, kind, zoom),
        patience=patience,
    )
