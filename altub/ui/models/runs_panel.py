"""The runs of this machine: searched, named, tagged, put into the archive, deleted and brought back."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from altub.errors import RunError
from altub.runs.notes import change_notes
from altub.runs.run import Run
from altub.runs.trash import KEPT_HOURS, list_trash, restore_run, trash_run
from altub.ui.errors import notice, show_errors
from altub.ui.models.runs_table import CHOOSE_JS, RunRow, RunRows, matches, runs_table, size_text
from altub.ui.watch import RunWatch

__all__ = ["RunsPanel", "build_runs"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}


@dataclass(frozen=True)
class RunsPanel:
    """What leads to other tabs: the id of the chosen run, and the buttons."""

    chosen: gr.State
    watch: gr.Button
    inspect: gr.Button
    clone: gr.Button


class RunsHandlers:
    """The panel's handlers. Each validates its arguments: anybody can call it by its number.

    Args:
        watch: what is known of all runs.
        may_change: may visitors of this page change what others trained?
        may_delete: and delete it?
    """

    def __init__(self, watch: RunWatch, *, may_change: bool, may_delete: bool) -> None:
        self.watch, self.rows = watch, RunRows(watch)
        self.may_change, self.may_delete = may_change, may_delete

    def look(self, search: str | None, archived: bool, chosen: str | None) -> list[Any]:
        """Table, summary, and what can be brought back."""
        everything = self.rows.rows(bool(archived))
        rows = [row for row in everything if matches(row, search or "")]
        size = size_text(sum(row.size for row in rows))
        count = f"{len(rows)} run{'s' if len(rows) != 1 else ''}" + (f" of {len(everything)}" if search else "")
        trash = list_trash(self.watch.root) if self.may_delete else []
        return [
            runs_table(rows, chosen, len(everything)),
            f'<p class="hub-note">{count}, {size} on disk</p>' if everything else "",
            gr.update(visible=bool(trash)),
            gr.update(choices=trash, value=trash[0] if trash else None),
        ]

    @show_errors("Run not available")
    def choose(self, event: gr.EventData) -> list[Any]:
        """The run that was pressed, and its fields."""
        data = event._data if isinstance(event._data, dict) else {}
        return self.fields(data.get("run"))

    def fields(self, run_id: Any) -> list[Any]:
        """Id, heading, name, tags, notes, and the buttons; the whole part is hidden where there is no run.

        Raises:
            RunError: the run was removed.
        """
        if run_id is None:
            return [None, gr.update(visible=False), *[gr.skip()] * 9]
        view = self.watch.view(run_id) if isinstance(run_id, str) else None
        if view is None:
            raise RunError("This run was removed: choose another one.")
        notes, has_model = view.notes, RunRow(view, 0, None).has_model
        return [
            view.id,
            gr.update(visible=True),
            f"<h4>{escape(view.id)}</h4>" + (f'<p class="hub-note">{escape(view.status.message)}</p>'
                                             if view.status.message else ""),
            notes.name,
            ", ".join(notes.tags),
            notes.notes,
            gr.update(value="Not in production" if notes.pinned else "In production", visible=self.may_change),
            gr.update(value="Out of archive" if notes.archived else "Archive", visible=self.may_change),
            gr.update(visible=self.may_delete, interactive=not view.is_active),
            gr.update(interactive=has_model),
            gr.update(visible=self.may_change),
        ]  # fmt: skip

    @show_errors("Notes not saved", fields={name: f"run-{name}" for name in ("name", "tags", "notes")})
    def save(self, run_id: Any, name: str | None, tags: str | None, notes: str | None) -> list[Any]:
        """Name, tags and notes as they stand in the fields."""
        words = [tag for tag in (part.strip() for part in (tags or "").split(",")) if tag]
        return self._change(run_id, name=name or "", tags=words, notes=notes or "")

    @show_errors("Run not changed")
    def pin(self, run_id: Any) -> list[Any]:
        """Marks the run as in production, or takes the mark away."""
        return self._change(run_id, pinned=not self._view(run_id).notes.pinned)

    @show_errors("Run not changed")
    def archive(self, run_id: Any) -> list[Any]:
        """Puts the run into the archive, or takes it out."""
        return self._change(run_id, archived=not self._view(run_id).notes.archived)

    @show_errors("Run not deleted")
    def delete(self, run_id: Any) -> list[Any]:
        """Deletes the run; for a day it can be brought back."""
        self._check(self.may_delete)
        trash_run(self._view(run_id).id, self.watch.root)
        self.watch.forget()
        gr.Info(notice(f"Deleted. It can be brought back for {KEPT_HOURS} hours."))
        return self.fields(None)

    @show_errors("Run not brought back")
    def undo(self, run_id: Any) -> list[Any]:
        """Brings a deleted run back and chooses it."""
        self._check(self.may_delete)
        if run_id not in list_trash(self.watch.root):
            raise RunError("This run is not in the trash any more: choose another one.")
        run = restore_run(run_id, self.watch.root)
        self.watch.forget()
        return self.fields(run.id)

    def _change(self, run_id: Any, **changes: Any) -> list[Any]:
        self._check(self.may_change)
        change_notes(Run.find(self._view(run_id).id, self.watch.root), **changes)
        return self.fields(run_id)

    def _view(self, run_id: Any) -> Any:
        view = self.watch.view(run_id) if isinstance(run_id, str) else None
        if view is None:
            raise RunError("This run was removed: choose another one.")
        return view

    def _check(self, allowed: bool) -> None:
        if not allowed:
            raise RunError("Only the owner of this page can change runs.")


def build_runs(demo: gr.Blocks, tab: gr.Tab, watch: RunWatch, *, may_change: bool, may_delete: bool) -> RunsPanel:
    """Lays the panel out and connects it; arguments as of `RunsHandlers`."""
    on = RunsHandlers(watch, may_change=may_change, may_delete=may_delete)
    chosen = gr.State(None)
    with gr.Column(elem_id="runs", elem_classes="hub-card"):
        with gr.Row(elem_id="runs-head"):
            gr.HTML("<h3>Runs</h3>")
            summary = gr.HTML(elem_id="runs-summary")
        with gr.Row(elem_id="runs-find"):
            search = gr.Textbox(
                label="Search", placeholder="name, category, tag, state", max_lines=1, elem_id="runs-search"
            )
            archived = gr.Checkbox(False, label="Archived too", container=False, scale=0, elem_id="runs-archived")
        table = gr.HTML(js_on_load=CHOOSE_JS, elem_id="runs-table")
        with gr.Row(visible=False, elem_id="runs-trash") as trash:
            gone = gr.Dropdown([], label="Deleted runs", allow_custom_value=True, elem_id="runs-gone")
            undo = gr.Button("Bring back", size="md", scale=0, min_width=130, elem_id="runs-undo")
        with gr.Column(visible=False, elem_id="run-card") as card:
            about = gr.HTML(elem_id="run-about")
            with gr.Row():
                name = gr.Textbox(label="Name", max_lines=1, interactive=may_change, elem_id="run-name")
                tags = gr.Textbox(
                    label="Tags", placeholder="line-3, trial", max_lines=1, interactive=may_change, elem_id="run-tags"
                )
            notes = gr.Textbox(label="Notes", lines=2, max_lines=8, interactive=may_change, elem_id="run-notes")
            with gr.Row(elem_id="run-actions"):
                save = gr.Button("Save", variant="primary", size="md", min_width=90, scale=0, elem_id="run-save")
                pin = gr.Button("In production", size="md", min_width=150, scale=0, elem_id="run-pin")
                show = gr.Button("Show in Train", size="md", min_width=140, scale=0, elem_id="run-show")
                inspect = gr.Button("Inspect", size="md", min_width=100, scale=0, elem_id="run-use")
                clone = gr.Button("Clone with changes", size="md", min_width=170, scale=0, elem_id="run-clone")
                archive = gr.Button("Archive", size="md", min_width=100, scale=0, elem_id="run-archive")
                delete = gr.Button("Delete", variant="stop", size="md", min_width=90, scale=0, elem_id="run-delete")

    asked = [search, archived, chosen]
    listed = [table, summary, trash, gone]
    fields = [chosen, card, about, name, tags, notes, pin, archive, delete, inspect, save]
    gr.on([demo.load, tab.select, archived.input], on.look, asked, listed, **QUIET)
    search.input(on.look, asked, listed, trigger_mode="always_last", **QUIET)
    table.select(on.choose, None, fields, **QUIET).success(on.look, asked, listed, **QUIET)
    written: tuple[tuple[gr.Button, Any, list[Any]], ...] = (
        (save, on.save, [chosen, name, tags, notes]),
        (pin, on.pin, [chosen]),
        (archive, on.archive, [chosen]),
        (delete, on.delete, [chosen]),
        (undo, on.undo, [gone]),
    )
    for button, answer, inputs in written:
        button.click(answer, inputs, fields, **QUIET).success(on.look, asked, listed, **QUIET)
    return RunsPanel(chosen, show, inspect, clone)
