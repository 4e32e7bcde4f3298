"""What the Compare tab answers to its visitors: no layout, only updates of it."""

from __future__ import annotations

import threading
import time
from typing import Any

import gradio as gr

from altub.evaluation.compare import COMPARED, update_name
from altub.ui.compare.views import (
    NO_RUNS,
    NONE_CHOSEN,
    Entry,
    chart,
    compare,
    csv_link,
    events_of,
    settings_table,
    stats_table,
)
from altub.ui.errors import show_errors
from altub.ui.html.zoom import Range, dragged_range, parse_range, range_text
from altub.ui.marks import Sent, Updates
from altub.ui.watch import RunView, RunWatch, stamp

__all__ = ["MOST_RUNS", "OFFERED", "Choice", "Handlers"]

PRESELECTED = 8  # runs of the newest category
MOST_RUNS = 48
OFFERED = ("pixel_auroc", "image_auroc", "aupro", "held_out")
DRAWN = 3  # curves, table, differences


class Choice:
    """What one visitor chose. ids: None = the runs of the newest category. marks: what the page was drawn from
    (`altub.ui.marks`)."""

    def __init__(self) -> None:
        self.ids: list[str] | None = None
        self.metric = OFFERED[0]
        self.together = False
        self.zoom: Range | None = None  # epochs of the chart; None: all
        self.log = False
        self.marks: dict[str, Sent] = {}
        self.lock = threading.RLock()

    def __deepcopy__(self, _memo: dict) -> Choice:
        return Choice()  # every visitor's own


class Handlers:
    """Answers of the tab.

    Args:
        watch: what is known of all runs.
    """

    def __init__(self, watch: RunWatch) -> None:
        self.watch = watch

    def look(self, choice: Choice, arrived: Any) -> list[Any]:
        """What the page does not show yet. arrived: number of the last answer that it has drawn."""
        with choice.lock:
            views = self.watch.views()
            chosen = _chosen(choice, views)
            options = [(_option(view), view.id) for view in views]
            value = [view.id for view in chosen]
            shown = Updates(choice.marks, arrived)
            shown.put("zoom", choice.zoom, lambda: range_text(choice.zoom))
            shown.put("picker", (options, value), lambda: gr.update(choices=options, value=value))
            runs = [(view.id, view.state, view.status.epoch, stamp(view.run.path / "events.jsonl")) for view in chosen]
            drawn_from = (runs, bool(views), choice.metric, choice.together, choice.zoom, choice.log)
            shown.put("drawn", drawn_from, lambda: _draw(chosen, bool(views), choice))
            choice.marks = shown.marks
        picker, zoom = (shown.updates.get(part, gr.skip()) for part in ("picker", "zoom"))
        return [picker, zoom, *shown.updates.get("drawn", [gr.skip()] * DRAWN), shown.number]

    def choose_runs(self, choice: Choice, ids: list[str] | None) -> None:
        with choice.lock:
            choice.ids = [name for name in ids or [] if isinstance(name, str)][:MOST_RUNS]

    def choose_metric(self, choice: Choice, name: str) -> None:
        choice.metric = name if name in OFFERED else OFFERED[0]

    def choose_together(self, choice: Choice, wish: bool) -> None:
        choice.together = bool(wish)

    def drag_zoom(self, choice: Choice, event: gr.EventData) -> None:
        """The epochs that were dragged over."""
        choice.zoom = dragged_range(event._data) or choice.zoom

    def clear_zoom(self, choice: Choice) -> None:
        """All epochs."""
        choice.zoom = None

    @show_errors("Range not shown")
    def type_zoom(self, choice: Choice, text: str | None) -> None:
        """The epochs that were typed."""
        choice.zoom = parse_range(text)

    def choose_log(self, choice: Choice, wish: bool) -> None:
        choice.log = bool(wish)


def _chosen(choice: Choice, views: list[RunView]) -> list[RunView]:
    """The runs to draw, in the order they were chosen in; those that are gone are left out."""
    if choice.ids is None:
        newest = [view for view in views if view.config.category == views[0].config.category][:PRESELECTED]
        return newest[::-1]
    known = {view.id: view for view in views}
    return [known[name] for name in choice.ids if name in known]


def _draw(chosen: list[RunView], any_runs: bool, choice: Choice) -> list[str]:
    if not chosen:
        return [NONE_CHOSEN if any_runs else NO_RUNS, "", ""]
    entries = [Entry(view.id, view.config, events_of(view.run), view.state, _progress(view)) for view in chosen]
    metric, compared = choice.metric, compare(entries, choice.together)
    head = f'<div class="table-head"><h3>{COMPARED[metric].title}</h3>{csv_link(entries)}</div>'
    return [
        f'<div class="altub-card">{chart(compared, metric, choice.zoom, choice.log)}</div>',
        f'<div class="altub-card">{head}{stats_table(compared, metric)}</div>',
        f'<div class="altub-card"><h3>What differs</h3>{settings_table(compared)}</div>',
    ]


def _progress(view: RunView) -> str:
    done = f"{view.status.epoch} of {view.config.epochs}"
    return done if view.state == "finished" else f"{done}, {view.state}"


def _option(view: RunView) -> str:
    """One line of the list, without what changes while a run trains."""
    config = view.config
    flow = getattr(config.flow, "kind", "fastflow")
    words = [view.title, *([flow] if flow != "fastflow" else []), update_name(config.base), f"seed {config.seed}"]
    when = time.strftime("%d %b %H:%M", time.localtime(view.status.created))
    tail = view.id.rsplit("-", 1)[-1]  # of two runs of one minute
    return " · ".join([*words, when, *([] if tail == f"seed{config.seed}" else [tail])])
