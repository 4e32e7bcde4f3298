"""Choosing what to train on: the source, the category, and the ways to get more images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from altub.data import MVTEC_CATEGORIES
from altub.data.download import MVTEC_LICENCE, MVTEC_PAGE, download_mvtec
from altub.data.fetch import Progress
from altub.data.sample import make_sample
from altub.deploy.server.notices import UPLOADS_OFF
from altub.errors import AltUBError
from altub.settings import data_root, on_space, uploads_are_shared
from altub.ui.background import BackgroundTask, Report
from altub.ui.services import Services
from altub.ui.train.data_source import (
    MVTEC,
    OWN,
    SAMPLE,
    SOURCES,
    UPLOAD,
    Choice,
    category_choices,
    find_category,
)
from altub.ui.train.data_views import preview
from altub.ui.train.uploads import store_upload

__all__ = ["DataPanel", "build_data_panel"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
POLL = 0.7  # seconds between two looks at a task


@dataclass(frozen=True)
class DataPanel:
    """The components that name the chosen images."""

    source: gr.Radio
    category: gr.Dropdown
    folder: gr.Textbox
    may_name_folders: bool

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What `find` takes."""
        return [self.source, self.category, self.folder]

    def find(self, source: str, category: str | None, folder: str | None) -> Choice:
        """The chosen images; AltUBError where that is not possible."""
        return find_category(source, category, folder or "", self.may_name_folders)


def build_data_panel(demo: gr.Blocks, services: Services, *, may_name_folders: bool) -> DataPanel:
    """Lays the panel out and connects it."""
    first = category_choices(SAMPLE)
    source = gr.Radio(SOURCES, value=SAMPLE, label="Images from", elem_id="train-source")
    category = gr.Dropdown(first, value=first[0][1], label="Category", filterable=False, elem_id="train-category")
    view = gr.HTML(elem_id="train-preview")
    with gr.Accordion("Download MVTec AD", open=False, visible=False, elem_id="train-download") as download:
        gr.Markdown(
            f"[MVTec AD]({MVTEC_PAGE}) by MVTec Software GmbH: 15 categories of industrial products, 5 GB in all. "
            f"Or get it by hand and put each category's folder into {_place(may_name_folders)}.",
            elem_classes="hint",
        )
        wanted = gr.Dropdown(list(MVTEC_CATEGORIES), value=MVTEC_CATEGORIES[0], label="Category to download")
        licence = gr.Checkbox(
            label=f"I accept its licence, {MVTEC_LICENCE.split(' (')[0]}: no commercial use.",
            elem_id="download-licence",
        )
        with gr.Row():
            begin = gr.Button("Download", size="md", min_width=100, elem_id="download-begin")
            # One download serves all visitors: on a Space none of them may end it for the others.
            cancel = gr.Button("Cancel", size="md", min_width=100, interactive=False, visible=not on_space())
        arriving = gr.HTML(elem_id="download-state")
    with gr.Column(visible=False, elem_id="train-own") as own:
        with gr.Accordion("Upload images", open=True, visible=uploads_are_shared()):
            name = gr.Textbox(label="Name of the set", placeholder="lid-top", max_lines=1, elem_id="upload-name")
            good = gr.File(
                label="Good images (at least 8, better 50)",
                file_count="multiple",
                file_types=["image"],
                height=120,
                elem_id="upload-good",
            )
            defective = gr.File(
                label="Defective images (optional, for testing)",
                file_count="multiple",
                file_types=["image"],
                height=120,
                elem_id="upload-defective",
            )
            store = gr.Button("Store images", size="md", elem_id="upload-store")
        with gr.Accordion("Folder on this machine", open=False, visible=may_name_folders):
            folder = gr.Textbox(
                label="Folder",
                info="Good images, optionally with defect/ and masks/ beside them; or MVTec AD, BTAD or VisA.",
                placeholder="/data/lids",
                max_lines=1,
                elem_id="train-folder",
            )
            use = gr.Button("Use this folder", size="md", elem_id="folder-use")
    timer = gr.Timer(POLL, active=False)
    seen = gr.State("")

    def is_busy() -> bool:
        return services.sample.is_running or services.download.is_running

    def choices_of(kind: str, path: str | None, select: str | None) -> dict[str, Any]:
        choices = category_choices(kind, path or "", may_name_folders)
        values = [value for _, value in choices]
        return gr.update(choices=choices, value=select if select in values else (values[0] if values else None))

    def draw(kind: str, chosen: str | None, path: str | None) -> str:
        if kind == SAMPLE and services.sample.state != "done":
            return _task_line(services.sample, "The sample is being drawn, once")
        if not chosen:
            return _nothing(kind, may_name_folders)
        try:
            return preview(find_category(kind, chosen, path or "", may_name_folders).load())
        except AltUBError as error:
            return f'<p class="warning">{escape(str(error))}</p>'

    def take_source(kind: str, path: str | None) -> list[Any]:
        _check_source(kind)
        if kind == SAMPLE:
            _begin_sample(services.sample)
        try:
            choices = choices_of(kind, path, None)
        except AltUBError as error:
            gr.Warning(str(error))
            choices = gr.update(choices=[], value=None)
        return [
            choices,
            draw(kind, choices["value"], path),
            gr.update(visible=kind == MVTEC),
            gr.update(visible=kind == OWN),
            gr.Timer(active=is_busy()),
        ]

    def look(kind: str, chosen: str | None, path: str | None, before: str) -> list[Any]:
        """Every tick while a task runs, and once when the page opens."""
        version = f"{kind} {chosen} {services.sample.version} {services.download.version}"
        if version == before:
            return [gr.skip()] * 6
        arrived = kind == MVTEC and services.download.state == "done"
        return [
            choices_of(kind, path, chosen) if arrived else gr.skip(),
            draw(kind, chosen, path) if kind == SAMPLE else gr.skip(),
            _task_line(services.download, "Downloading"),
            gr.update(interactive=services.download.is_running),
            gr.Timer(active=is_busy()),
            version,
        ]

    def open_page(kind: str, chosen: str | None, path: str | None) -> list[Any]:
        if kind == SAMPLE:
            _begin_sample(services.sample)
        return look(kind, chosen, path, "")

    watched = [category, view, arriving, cancel, timer, seen]
    source.change(take_source, [source, folder], [category, view, download, own, timer], **QUIET)
    category.change(draw, [source, category, folder], view, **QUIET)
    timer.tick(look, [source, category, folder, seen], watched, concurrency_limit=None, **QUIET)
    demo.load(open_page, [source, category, folder], watched, **QUIET)

    def start_download(which: str, accepted: bool) -> list[Any]:
        if which not in MVTEC_CATEGORIES:
            raise gr.Error("Choose one of the 15 categories of MVTec AD.")
        if accepted is not True:
            raise gr.Error("MVTec AD may be downloaded after accepting its licence: tick the box first.")
        if not services.download.start(lambda report, should_stop: _download(which, report, should_stop)):
            gr.Warning("A download is running already; start the next one when it has ended.")
        return [_task_line(services.download, "Downloading"), gr.update(interactive=True), gr.Timer(active=True)]

    begin.click(start_download, [wanted, licence], [arriving, cancel, timer], **QUIET)
    if not on_space():
        cancel.click(services.download.stop, None, None, **QUIET)

    def take_upload(title: str, goods: Sequence[str] | None, bads: Sequence[str] | None) -> list[Any]:
        try:
            stored = store_upload(title, goods or [], bads or [])
            choices = choices_of(OWN, "", UPLOAD + stored.name)
        except AltUBError as error:
            raise gr.Error(str(error), duration=None) from error
        (gr.Warning if stored.refused else gr.Info)(escape(stored.summary))
        return [choices, None, None]

    store.click(take_upload, [name, good, defective], [category, good, defective], api_visibility="private").success(
        draw, [source, category, folder], view, **QUIET
    )

    def take_folder(path: str) -> dict[str, Any]:
        try:
            choices = choices_of(OWN, path, None)
        except AltUBError as error:
            raise gr.Error(str(error), duration=None) from error
        named = [value for _, value in choices["choices"] if not value.startswith(UPLOAD)]
        return {**choices, "value": named[0] if named else choices["value"]}

    use.click(take_folder, folder, category, **QUIET)
    return DataPanel(source, category, folder, may_name_folders)


def _check_source(kind: str) -> None:
    if kind not in [value for _, value in SOURCES]:
        raise gr.Error("Choose where the images come from.")


def _begin_sample(task: BackgroundTask) -> None:
    if task.state == "done" and (data_root() / SAMPLE).is_dir():
        return
    task.start(_make_sample)
    task.wait(0.2)  # if it exists already, the page opens with its pictures


def _make_sample(report: Report, should_stop: Any) -> str:
    make_sample(data_root() / SAMPLE, progress=lambda done, total: report(done / total, f"{done} of {total} pictures"))
    return "The sample is ready."


def _download(category: str, report: Report, should_stop: Any) -> str:
    words = {"download": "receiving", "verify": "checking", "extract": "unpacking"}

    def show(progress: Progress) -> None:
        size = f"{progress.done / 1e6:,.0f} MB" + (f" of {progress.total / 1e6:,.0f}" if progress.total else "")
        report(progress.fraction, f"{category}: {words.get(progress.phase, progress.phase)}, {size}")

    download_mvtec(category, data_root() / MVTEC, accept_licence=True, progress=show, should_stop=should_stop)
    return f"{category} is ready."


def _task_line(task: BackgroundTask, title: str) -> str:
    if task.state == "idle":
        return ""
    if task.state == "failed":
        return f'<p class="error">{escape(task.text)}</p>'
    if task.state == "done":
        return f'<p class="note">{escape(task.text)}</p>'
    width = f"width:{100 * task.fraction:.0f}%" if task.fraction is not None else ""
    kind = "" if task.fraction is not None else "unknown"
    return (
        f'<div class="task"><p><b>{escape(title)}</b> <span class="muted">{escape(task.text)}</span></p>'
        f'<div class="bar {kind}"><i style="{width}"></i></div></div>'
    )


def _place(is_local: bool) -> str:
    """Where MVTec AD belongs; the paths of a server are nobody's business but its own machine's."""
    return f"`{data_root() / MVTEC}`" if is_local else "the folder mvtec of the server's data root"


def _nothing(kind: str, is_local: bool) -> str:
    if kind == MVTEC:
        return (
            '<div class="nothing-yet"><b>No category of MVTec AD is here yet.</b> Download one below, or put its '
            f"folder into {escape(_place(is_local).strip('`'))}.</div>"
        )
    if not uploads_are_shared():
        return f'<div class="nothing-yet">{escape(UPLOADS_OFF)}</div>'
    return (
        '<div class="nothing-yet"><b>No images of yours yet.</b> Upload pictures of good parts below: 50 are a good '
        "beginning, all taken the same way. Defective ones are optional and only used for testing.</div>"
    )
