"""The part of the Models tab that names damaged runs, with their reason, and deletes them."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from altub.errors import AltUBError
from altub.runs.damaged import DamagedRun, list_damaged, remove_run
from altub.ui.errors import notice

__all__ = ["build_damaged", "damaged_list"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}


def build_damaged(demo: gr.Blocks, tab: gr.Tab, *, may_delete: bool) -> None:
    """Fills the place below the two cards; it is hidden while every run can be read.

    Args:
        may_delete: whoever reaches the page owns its runs.
    """
    with gr.Column(visible=False, elem_id="damaged-runs", elem_classes="hub-card") as group:
        gr.HTML("<h3>Damaged runs</h3>")
        listed = gr.HTML(elem_id="damaged-list")
        with gr.Row(visible=may_delete):
            chosen = gr.Dropdown([], label="Run", allow_custom_value=True, elem_id="damaged-run")
            delete = gr.Button("Delete", variant="stop", size="sm", scale=0, min_width=110, elem_id="damaged-delete")
            sure = gr.Button(
                "Delete permanently", variant="stop", size="sm", scale=0, visible=False, elem_id="damaged-sure"
            )
            keep = gr.Button("Keep", size="sm", scale=0, min_width=90, visible=False, elem_id="damaged-keep")
    steps = [delete, sure, keep]

    def look() -> list[Any]:
        found = list_damaged()
        names = [run.id for run in found]
        return [
            gr.Column(visible=bool(found)),
            damaged_list(found),
            gr.Dropdown(choices=names, value=names[0] if names else None),
            *ask(False),
        ]

    def ask(asking: bool) -> list[Any]:
        return [gr.Button(visible=not asking), gr.Button(visible=asking), gr.Button(visible=asking)]

    def remove(run_id: Any) -> list[Any]:
        if not may_delete:
            raise gr.Error("Only the owner of this page can delete runs.", print_exception=False)
        if not any(run.id == run_id for run in list_damaged()):
            raise gr.Error("This run is not damaged, or it is already deleted: reload the page.", print_exception=False)
        try:
            remove_run(str(run_id))
        except AltUBError as error:
            raise gr.Error(notice(error), print_exception=False) from error
        return look()

    shown = [group, listed, chosen, *steps]
    gr.on([demo.load, tab.select], look, None, shown, **QUIET)
    delete.click(lambda: ask(True), None, steps, **QUIET)
    keep.click(lambda: ask(False), None, steps, **QUIET)
    sure.click(remove, chosen, shown, **QUIET)


def damaged_list(found: list[DamagedRun]) -> str:
    """A line a run, its name and what is wrong with it, as HTML."""
    lines = "".join(f"<li><b>{escape(run.id)}</b>: {escape(run.reason)}</li>" for run in found)
    return f'<ul class="hub-note">{lines}</ul>'
