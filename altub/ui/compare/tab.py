"""The Compare tab: any runs side by side, their curves on one axis and what tells them apart.

What a visitor chose lives on the server, as in the Train tab (`altub.ui.train.updates` says why): the lists of the page
only tell of a new choice.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import gradio as gr

from altub.evaluation.compare import COMPARED, update_name
from altub.ui.compare.views import Entry, chart, compare, csv_link, events_of, settings_table, stats_table
from altub.ui.watch import RunView, RunWatch, stamp

__all__ = ["build"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
LOOK_EVERY = 2.0  # seconds
PRESELECTED = 8  # runs of the newest category
MOST_RUNS = 48
OFFERED = ("pixel_auroc", "image_auroc", "aupro", "held_out")

_NO_RUNS = (
    '<div class="nothing-yet"><b>Nothing to compare yet</b>Train two runs or more in the Train tab, with AltUB and '
    "without it or with another seed; they appear here by themselves.</div>"
)
_NONE_CHOSEN = '<div class="nothing-yet"><b>No run chosen</b>Choose runs above to see their curves on one axis.</div>'


class Choice:
    """What one visitor chose. ids: None = the runs of the newest category. marks: what the page was drawn from."""

    def __init__(self) -> None:
        self.ids: list[str] | None = None
        self.metric = OFFERED[0]
        self.together = False
        self.marks: dict[str, str] = {}
        self.lock = threading.RLock()

    def __deepcopy__(self, _memo: dict) -> Choice:
        return Choice()  # every visitor's own


def build(tab: gr.Tab, tabs: gr.Tabs, watch: RunWatch) -> None:
    """Fills the tab, which compares the runs of `watch`; call it inside `with gr.Tab(...)`, one of `tabs`."""
    choice = gr.State(Choice())
    timer = gr.Timer(LOOK_EVERY, active=False)
    with gr.Column(elem_id="compare"):
        with gr.Row(elem_classes="altub-card", elem_id="compare-bar"):
            picker = gr.Dropdown(
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
        curves = gr.HTML(_NO_RUNS, elem_id="compare-chart")
        table = gr.HTML(elem_id="compare-table")
        differences = gr.HTML(elem_id="compare-settings")

    outputs = [picker, curves, table, differences]

    def look(choice: Choice) -> list[Any]:
        """What changed since the page was drawn last."""
        with choice.lock:
            views = watch.views()
            chosen = _chosen(choice, views)
            options = [(_option(view), view.id) for view in views]
            value = [view.id for view in chosen]
            updates = [gr.skip()] * len(outputs)
            if _is_new(choice, "picker", (options, value)):
                updates[0] = gr.update(choices=options, value=value)
            drawn = [(view.id, view.state, view.status.epoch, stamp(view.run.path / "events.jsonl")) for view in chosen]
            if _is_new(choice, "drawn", (drawn, bool(views), choice.metric, choice.together)):
                updates[1:] = _draw(chosen, bool(views), choice.metric, choice.together)
        return updates

    def choose_runs(choice: Choice, ids: list[str] | None) -> None:
        with choice.lock:
            choice.ids = [name for name in ids or [] if isinstance(name, str)][:MOST_RUNS]

    def choose_metric(choice: Choice, name: str) -> None:
        choice.metric = name if name in OFFERED else OFFERED[0]

    def choose_together(choice: Choice, wish: bool) -> None:
        choice.together = bool(wish)

    def look_while_open(event: gr.SelectData) -> gr.Timer:
        return gr.Timer(active=event.value == tab.label)

    tab.select(look, choice, outputs, **QUIET)
    tabs.select(look_while_open, None, timer, **QUIET)
    timer.tick(look, choice, outputs, **QUIET)
    for component, note in ((picker, choose_runs), (metric, choose_metric), (together, choose_together)):
        component.input(note, [choice, component], None, **QUIET).success(look, choice, outputs, **QUIET)


def _chosen(choice: Choice, views: list[RunView]) -> list[RunView]:
    """The runs to draw, in the order they were chosen in; those that are gone are left out."""
    if choice.ids is None:
        newest = [view for view in views if view.config.category == views[0].config.category][:PRESELECTED]
        return newest[::-1]
    known = {view.id: view for view in views}
    return [known[name] for name in choice.ids if name in known]


def _is_new(choice: Choice, part: str, mark: Any) -> bool:
    mark = repr(mark)
    if choice.marks.get(part) == mark:
        return False
    choice.marks[part] = mark
    return True


def _draw(chosen: list[RunView], any_runs: bool, metric: str, together: bool) -> list[str]:
    if not chosen:
        return [_NONE_CHOSEN if any_runs else _NO_RUNS, "", ""]
    entries = [Entry(view.id, view.config, events_of(view.run), view.state, _progress(view)) for view in chosen]
    compared = compare(entries, together)
    head = f'<div class="table-head"><h3>{COMPARED[metric].title}</h3>{csv_link(entries)}</div>'
    return [
        f'<div class="altub-card">{chart(compared, metric)}</div>',
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
    words = [config.category, *([flow] if flow != "fastflow" else []), update_name(config.base), f"seed {config.seed}"]
    when = time.strftime("%d %b %H:%M", time.localtime(view.status.created))
    tail = view.id.rsplit("-", 1)[-1]  # of two runs of one minute
    return " · ".join([*words, when, *([] if tail == f"seed{config.seed}" else [tail])])
