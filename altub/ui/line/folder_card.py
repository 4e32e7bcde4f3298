"""The card of the Line tab that lets images be inspected as they arrive in a folder."""

from __future__ import annotations

from typing import Any

import gradio as gr

from altub.errors import ConfigError, RunError
from altub.line.filing import FILING
from altub.ui.errors import show_errors
from altub.ui.folders import named_folder
from altub.ui.line.drift_card import QUIET, DriftCard
from altub.ui.line.folder_views import BUTTONS_JS, folders_html
from altub.ui.marks import stamp, stamp_field
from altub.ui.offers import find_model
from altub.ui.services import Services

__all__ = ["FolderHandlers", "build_folders"]

POLL = 2.0  # seconds between two looks
ABOUT = (
    "Images are inspected by the chosen model as they arrive, each exactly once, also after a power cut. It goes on "
    "when the page is closed or its server ends."
)
NOT_LOCAL = (
    "Folders can be watched only while the page is served to its own machine. On any machine: "
    "<code>python -m altub watch FOLDER --model MODEL --output RESULTS</code>"
)


class FolderHandlers:
    """The card's handlers; each validates its arguments.

    Args:
        is_local: only its owner reaches the page, who may name folders of the machine.
    """

    def __init__(self, services: Services, *, is_local: bool) -> None:
        self.services, self.folders, self.is_local = services, services.folders, is_local

    def look(self, seen: Any) -> list[Any]:
        """The list, where it has changed since it was `seen`."""
        if not self.is_local:
            return [gr.skip()] * 2
        looks = [self.folders.look(watched) for watched in self.folders.list()]
        html = folders_html(looks, lambda look: self.folders.output(look.watched))
        now = stamp(html)
        return [gr.skip()] * 2 if now == seen else [html, now]

    @show_errors("Not watched", fields={"folder": "line-folder", "run": "line-run"})
    def start(self, run_id: Any, folder: Any, filing: Any) -> list[Any]:
        """Starts a process that watches the folder."""
        if filing not in FILING:
            raise ConfigError("Say what happens to inspected files: leave, move or copy.")
        place = named_folder(folder, may_name_folders=self.is_local)
        if not isinstance(run_id, str) or not run_id:
            raise RunError("Choose a model.").at("run")
        self.folders.start(find_model(run_id), place, filing)
        return self.look(None)

    @show_errors("Not changed")
    def act(self, event: gr.EventData) -> list[Any]:
        """What a button in the list says."""
        if not self.is_local:
            raise RunError(NOT_LOCAL.partition(".")[0] + ".")
        data = event._data if isinstance(event._data, dict) else {}
        watched = self.folders.find(data.get("folder"))
        action = data.get("action")
        if action == "stop":
            self.folders.stop(watched)
        elif action == "start":
            self.folders.start(find_model(watched.run), watched.folder, watched.filing)
        elif action == "forget":
            self.folders.forget(watched)
        return self.look(None)


def build_folders(demo: gr.Blocks, tab: gr.Tab, services: Services, drift: DriftCard, *, is_local: bool) -> None:
    """Lays the card out and connects it; arguments as of `FolderHandlers`."""
    on = FolderHandlers(services, is_local=is_local)
    with gr.Column(elem_id="line-folders", elem_classes="altub-card"):
        gr.HTML(f'<h3>Watch a folder</h3><p class="hint">{ABOUT}</p>')
        if not is_local:
            gr.HTML(f'<p class="hint">{NOT_LOCAL}</p>')
            return
        with gr.Row(elem_id="line-folder-bar"):
            folder = gr.Textbox(
                label="Folder in which images arrive",
                placeholder="/data/camera3",
                max_lines=1,
                scale=3,
                min_width=240,
                elem_id="line-folder",
            )
            filing = gr.Dropdown(
                [("Leave", "leave"), ("Move by verdict", "move"), ("Copy by verdict", "copy")],
                value="leave",
                label="Inspected files",
                filterable=False,
                scale=1,
                min_width=150,
                elem_id="line-filing",
            )
            begin = gr.Button("Watch", variant="primary", size="md", scale=0, min_width=110, elem_id="line-watch")
        shown = gr.HTML(js_on_load=BUTTONS_JS, elem_id="line-watched")
    seen, timer = stamp_field(), gr.Timer(POLL, active=False)
    outputs = [shown, seen]
    begin.click(on.start, [drift.run, folder, filing], outputs, **QUIET)
    shown.select(on.act, None, outputs, **QUIET)
    timer.tick(on.look, seen, outputs, **QUIET)
    gr.on([demo.load, tab.select], on.look, seen, outputs, **QUIET)
    tab.select(lambda: gr.Timer(active=True), None, timer, **QUIET)
