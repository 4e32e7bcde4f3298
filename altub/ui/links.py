"""Ways between the tabs, and the page's address: `?tab=inspect&run=<id>` opens a tab with a run in it.

The address follows what is looked at, so that it can be sent to somebody else; without one, the browser's last tab is
opened.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from altub.errors import RunError
from altub.runs.run import Run
from altub.ui.label.tab import LabelTab
from altub.ui.models.runs_panel import RunsPanel
from altub.ui.offers import list_offers
from altub.ui.train.tab import TrainTab

__all__ = ["connect_tabs"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}

# The address that the page was opened with, whatever was written into it since.
READ_ADDRESS_JS = """() => {
  const asked = new URL(performance.getEntriesByType('navigation')[0]?.name ?? location.href).searchParams;
  (window.altubAddress ??= {}).wasRead = true;
  return [{tab: asked.get('tab') || localStorage.getItem('altub-tab'), run: asked.get('run')}, null];
}"""
# Who has clicked on a tab before the server's answer to the address arrived stays there.
KEEP_CLICKED_JS = """() => {
  const clicked = window.altubAddress?.clicked;
  const tabs = [...document.querySelectorAll('#altub-tabs [role=tab]')];
  if (clicked) tabs.find((tab) => tab.textContent.trim() === clicked)?.click();
}"""
# Inspect chooses a model by itself when the page opens: the one of the address comes after that.
AFTER_INSPECT_JS = """async (address) => {
  for (let tries = 0; tries < 40 && !document.querySelector('#inspect-run input')?.value; tries++)
    await new Promise((done) => setTimeout(done, 100));
  return [address];
}"""
# Called with what the run of one tab has become, or without arguments when another tab was opened.
WRITE_ADDRESS_JS = """(tab, run) => {
  const known = window.altubAddress ??= {};
  if (tab) known[tab] = run;
  if (!known.wasRead) return;  // the tab that the page begins with is nobody's choice
  const label = document.querySelector('#altub-tabs [role=tab][aria-selected=true]')?.textContent.trim();
  if (!label) return;
  const open = label.toLowerCase();
  localStorage.setItem('altub-tab', open);
  const address = new URL(location.href);
  address.searchParams.set('tab', open);
  if (known[open]) address.searchParams.set('run', known[open]);
  else address.searchParams.delete('run');
  history.replaceState(history.state, '', address);
}"""


def connect_tabs(
    demo: gr.Blocks,
    tabs: gr.Tabs,
    train: TrainTab,
    runs: RunsPanel,
    inspect_run: gr.Dropdown,
    labels: LabelTab | None,
) -> None:
    """Connects the tabs with each other and with the address; call it when all of them are built.

    Args:
        inspect_run: the list of models in Inspect.
        labels: None where labels are not kept.
    """
    address = gr.JSON(visible=False)
    names = [tab.id for tab in tabs.children if isinstance(tab, gr.Tab)]

    def open_tab(asked: Any, seen: Any) -> Any:
        tab, run_id = _read(asked, names)
        if run_id and tab == "train":
            seen.choose(run_id)
        return gr.Tabs(selected=tab) if tab else gr.skip()

    def choose_model(asked: Any) -> Any:
        tab, run_id = _read(asked, names)
        return _choice(run_id) if run_id and tab == "inspect" else gr.skip()

    def show_run(seen: Any, run_id: Any) -> Any:
        _, known = _read({"run": run_id}, names)
        if known is None:
            raise gr.Error("This run was removed: choose another one.", print_exception=False)
        seen.choose(known)
        return gr.Tabs(selected="train")

    def inspect_run_of(seen: Any) -> list[Any]:
        return [gr.Tabs(selected="inspect"), _choice(seen.run_id)]

    demo.load(open_tab, [address, train.seen], tabs, js=READ_ADDRESS_JS, **QUIET).then(
        None, js=KEEP_CLICKED_JS, api_visibility="private"
    ).then(
        choose_model, address, inspect_run, js=f"async () => ({AFTER_INSPECT_JS})(({READ_ADDRESS_JS})()[0])", **QUIET
    )
    ways = (
        (train.inspect, inspect_run_of, [train.seen], [tabs, inspect_run]),
        (
            runs.inspect,
            lambda run_id: [gr.Tabs(selected="inspect"), _choice(run_id)],
            [runs.chosen],
            [tabs, inspect_run],
        ),
        (runs.watch, show_run, [train.seen, runs.chosen], [tabs]),
    )
    for button, answer, inputs, outputs in ways:
        button.click(answer, inputs, outputs, **QUIET).success(
            None, js="() => scrollTo({top: 0})", api_visibility="private"
        )
    runs.clone.click(train.clone, runs.chosen, train.form, **QUIET).success(
        lambda: gr.Tabs(selected="train"), None, tabs, **QUIET
    ).then(None, js="() => document.querySelector('#train-setup').scrollIntoView()", api_visibility="private")
    if labels is not None:
        labels.making.success(train.choose_set, labels.made, train.images, **QUIET).success(
            lambda: gr.Tabs(selected="train"), None, tabs, **QUIET
        ).then(None, js="() => document.querySelector('#train-setup').scrollIntoView()", api_visibility="private")
    quiet = {"api_visibility": "private"}
    # A click is a selection; a tab that another one opened is a change.
    gr.on([tabs.select, tabs.change], None, None, None, js=f"() => setTimeout({WRITE_ADDRESS_JS}, 50)", **quiet)
    for name, run in (("train", train.remembered), ("inspect", inspect_run)):
        run.change(None, run, None, js=f"(run) => ({WRITE_ADDRESS_JS})('{name}', run)", **quiet)


def _read(asked: Any, names: list[Any]) -> tuple[str | None, str | None]:
    """The tab and the run of an address, each None where there is none."""
    found = asked if isinstance(asked, dict) else {}
    tab, run_id = found.get("tab"), found.get("run")
    try:
        run_id = Run.find(run_id).id if isinstance(run_id, str) and run_id else None
    except RunError:
        run_id = None
    return (tab if tab in names else ("train" if run_id else None)), run_id


def _choice(run_id: str | None) -> Any:
    """The list of models with this one chosen; as it is where the run has none."""
    choices = [(offer.label, offer.id) for offer in list_offers()]
    if run_id not in [name for _, name in choices]:
        return gr.skip()
    return gr.Dropdown(choices=choices, value=run_id, interactive=True)
