"""The part of the Label tab that pushes labels to the Hugging Face Hub; only on a page that its owner alone reaches."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from altub.errors import LabelError, about
from altub.files import explain_full_disk
from altub.hub.branches import parse_branch
from altub.hub.card import LICENCES, check_licence
from altub.labels import export_labels, push_labels
from altub.ui.background import BackgroundTask, Report
from altub.ui.errors import show_errors
from altub.ui.html.tasks import task_html
from altub.ui.label.choice import Choice
from altub.ui.label.desk import EXPIRED, LabelDesk
from altub.ui.server.temporary import LABEL_FOLDER
from altub.ui.services import Services

__all__ = ["HubCard"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
POLL = 0.7  # seconds between two looks at the push


class HubCard:
    """Lays the fields out; `connect` wires them. One push at a time for the whole page."""

    def __init__(self, services: Services, desk: LabelDesk) -> None:
        self.services, self.desk = services, desk
        self.task, self.pushed_to = BackgroundTask("The push"), ""
        with (
            gr.Column(elem_classes="label-card"),
            gr.Accordion("Push to the Hub", open=False, elem_id="label-hub"),
        ):
            with gr.Row(elem_id="label-hub-fields"):
                self.repo = gr.Textbox(label="Repo", placeholder="user/name", max_lines=1, elem_id="label-hub-repo")
                self.licence = gr.Dropdown(
                    [("not specified", ""), *((title, name) for name, title in LICENCES.items())],
                    value="",
                    label="Licence",
                    filterable=False,
                    elem_id="label-hub-licence",
                )
            self.public = gr.Checkbox(
                label="Public",
                info="Everybody may see the images, notes, sources and who labelled. Otherwise the repo is private.",
                elem_id="label-hub-public",
            )
            self.send = gr.Button("Push labels", size="md", scale=0, elem_id="label-hub-push")
            self.state = gr.HTML(elem_id="label-hub-state")
        self.timer = gr.Timer(POLL, active=False)

    def connect(self, value: gr.State, fields: list[Any]) -> None:
        """Wires it to the state of the page and the fields of the queue."""
        inputs = [value, self.repo, self.licence, self.public, *fields]
        self.send.click(self.push, inputs, [self.state, self.timer], **QUIET)
        for event in (self.timer.tick, value.change):  # after a reload too
            event(self.look, None, [self.state, self.timer], **QUIET)

    def look(self) -> tuple:
        """How the push is going; once per tick."""
        return task_html(self.task, self.pushed_to, "Show the data set"), gr.Timer(active=self.task.is_running)

    @show_errors("Push failed", fields={"repo": "label-hub-repo", "licence": "label-hub-licence"})
    def push(self, value: Any, repo: Any, licence: Any, public: Any, *fields: Any) -> tuple:
        """Exports the labels of the source and sends them, in a thread: a slow Hub freezes nothing."""
        if self.desk.who(value.get("token") if isinstance(value, dict) else None) is None:
            raise LabelError(EXPIRED)
        choice = Choice.of(dict(zip(("run", "show", "order", "source", "type"), fields, strict=True)))
        with about("repo"):
            target = parse_branch(str(repo or ""))
        with about("licence"):
            chosen = check_licence(str(licence or ""))

        def work(report: Report, _should_stop: Any) -> str:
            self.pushed_to = ""
            root = Path(get_upload_folder()) / LABEL_FOLDER
            with explain_full_disk(root):
                root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root) as temporary:
                folder = Path(temporary) / "labels"
                export_labels(
                    self.services.labels,
                    folder,
                    "imagefolder",
                    source=choice.source,
                    progress=lambda done, of: report(done / of, f"packing {done} of {of}"),
                )
                done = push_labels(
                    folder,
                    target.repo,
                    revision=target.revision,
                    public=public is True,
                    licence=chosen,
                    report=report,
                )
            self.pushed_to = done.url
            kept = " The card was edited on the Hub, so it was kept." if done.card_kept else ""
            if not done.changed:
                return f"{done.repo} is up to date already.{kept}"
            who = "private" if done.private else "public"
            return f'{done.images} labelled images in {done.repo} ({who}): load_dataset("{done.repo}").{kept}'

        if not self.task.start(work):
            gr.Warning("A push is running: start the next one when it has ended.")
        return self.look()[0], gr.Timer(active=True)
