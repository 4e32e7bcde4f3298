"""Handlers of the panel of the images: values of components in, values of components out.

Anybody can call a handler by its number, whatever the page shows, so each one validates its arguments. The order of the
returned values is that of the outputs in `altub.ui.train.data_panel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from altub.data import MVTEC_CATEGORIES
from altub.data.download import download_mvtec
from altub.data.fetch import Progress
from altub.data.review import review_images
from altub.data.sample import make_sample
from altub.errors import AltUBError, ConfigError, about
from altub.settings import data_root
from altub.ui.background import BackgroundTask, Report
from altub.ui.errors import notice, show_errors
from altub.ui.marks import stamp
from altub.ui.services import Services
from altub.ui.train.data_source import LABELLED, MVTEC, OWN, SAMPLE, SOURCES, UPLOAD, category_choices, find_category
from altub.ui.train.data_views import no_category, preview, task_line
from altub.ui.train.review_view import review_html
from altub.ui.train.uploads import remove_image, removed_images, restore_image, store_upload

__all__ = ["DataHandlers"]


class DataHandlers:
    """The handlers over one page's tasks. is_local: may folders of this machine be named?"""

    def __init__(self, services: Services, *, is_local: bool) -> None:
        self.sample, self.download = services.sample, services.download
        self.is_local = is_local

    def open_page(self, source: str, category: str | None, folder: str | None) -> list[Any]:
        """The panel as it is when the page opens."""
        if source == SAMPLE:
            _begin_sample(self.sample)
        return self.look(source, category, folder, None)

    def look(self, source: str, category: str | None, folder: str | None, seen: Any) -> list[Any]:
        """What a running task has changed since it was `seen`; once per tick."""
        now = stamp(source, category, self.sample.version, self.download.version)
        if now == seen:
            return [gr.skip()] * 6
        arrived = source == MVTEC and self.download.state == "done"
        return [
            self._choices(source, folder, category) if arrived else gr.skip(),
            self.draw(source, category, folder) if source == SAMPLE else gr.skip(),
            task_line(self.download, "Downloading"),
            gr.update(interactive=self.download.is_running),
            gr.Timer(active=self._is_busy()),
            now,
        ]

    def draw(self, source: str, category: str | None, folder: str | None) -> str:
        """Thumbnails of the chosen category, or what to do first."""
        if source == SAMPLE and self.sample.state != "done":
            return task_line(self.sample, "Making the sample images")
        if not category:
            return no_category(source, self.is_local)
        try:
            return preview(find_category(source, category, folder or "", self.is_local).load())
        except AltUBError as error:
            return f'<p class="warning">{escape(str(error))}</p>'

    @show_errors("Source not available")
    def choose_source(self, source: str, folder: str | None, category: str | None = None) -> list[Any]:
        """The categories of another source, this one or the first chosen, and the fields that belong to it."""
        if source not in [value for _, value in SOURCES]:
            raise ConfigError("Choose a source of images first.")
        if source == SAMPLE:
            _begin_sample(self.sample)
        try:
            choices = self._choices(source, folder, category)
        except AltUBError as error:
            gr.Warning(notice(error))
            choices = gr.update(choices=[], value=None)
        return [
            choices,
            self.draw(source, choices["value"], folder),
            gr.update(visible=source == MVTEC),
            gr.update(visible=source == OWN),
            gr.Timer(active=self._is_busy()),
        ]

    @show_errors("Folder not usable", duration=None, fields={"folder": "train-folder"})
    def choose_folder(self, folder: str) -> dict[str, Any]:
        """The categories of a folder, its first one chosen."""
        with about("folder"):
            if not (folder or "").strip():
                raise ConfigError("There is no folder yet: enter its path, such as /data/lids.")
            choices = self._choices(OWN, folder, None)
        named = [value for _, value in choices["choices"] if not value.startswith(UPLOAD)]
        return {**choices, "value": named[0] if named else choices["value"]}

    def choose_set(self, name: Any) -> list[Any]:
        """A set of labelled images, as another tab has made it: source, and what `choose_source` gives."""
        return [OWN, *self.choose_source(OWN, "", LABELLED + str(name))]

    @show_errors("Download not started", fields={"licence": "download-licence"})
    def start_download(self, category: str, accepted: bool) -> list[Any]:
        """Starts the download of a category of MVTec AD; one at a time for the whole server."""
        if category not in MVTEC_CATEGORIES:
            raise ConfigError("Choose one of the 15 categories of MVTec AD.")
        if accepted is not True:
            raise ConfigError("MVTec AD may be downloaded only after accepting its licence: tick the box first.").at(
                "licence"
            )
        if not self.download.start(lambda report, should_stop: _download(category, report, should_stop)):
            gr.Warning("Another download is running: start this one when it has ended.")
        return [task_line(self.download, "Downloading"), gr.update(interactive=True), gr.Timer(active=True)]

    @show_errors("Images not stored", duration=None, fields={"name": "upload-name", "good": "upload-good"})
    def store(self, name: str, good: Sequence[str] | None, defective: Sequence[str] | None) -> list[Any]:
        """Stores uploaded images as a set of this name and chooses it."""
        stored = store_upload(name, good or [], defective or [])
        choices = self._choices(OWN, "", UPLOAD + stored.name)
        (gr.Warning if stored.refused else gr.Info)(notice(stored.summary))
        return [choices, None, None]

    @show_errors("Images not checked")
    def review(
        self, source: str, category: str | None, folder: str | None, progress: gr.Progress = gr.Progress()
    ) -> str:
        """Duplicates, images in training and test alike, outliers, and a table of all images."""
        chosen = find_category(source, category, folder or "", self.is_local)
        if source == SAMPLE and self.sample.state != "done":
            raise ConfigError("The sample is still being made: check it when its images are shown.")

        def report(done: int, total: int) -> None:
            progress((done, total), desc="Checking images")

        found = review_images(chosen.load(), report)
        name = _upload_name(source, category)
        return review_html(found, removed_images(name) if name else [], may_remove=bool(name))

    @show_errors("Set not changed")
    def change_image(self, source: str, category: str | None, event: gr.EventData) -> None:
        """Takes an image out of an uploaded set, or puts it back."""
        data, name = event._data if isinstance(event._data, dict) else {}, _upload_name(source, category)
        if not name:
            raise ConfigError("Only sets of uploaded images can be changed here.")
        change = restore_image if data.get("action") == "restore" else remove_image
        file = change(name, str(data.get("sha")))
        gr.Info(notice(f"{file} {'is back in' if change is restore_image else 'was taken out of'} the set."))

    def _is_busy(self) -> bool:
        return self.sample.is_running or self.download.is_running

    def _choices(self, source: str, folder: str | None, select: str | None) -> dict[str, Any]:
        choices = category_choices(source, folder or "", self.is_local)
        values = [value for _, value in choices]
        return gr.update(choices=choices, value=select if select in values else (values[0] if values else None))


def _upload_name(source: str, category: Any) -> str:
    """The uploaded set that is chosen; empty where another source is."""
    is_upload = source == OWN and isinstance(category, str) and category.startswith(UPLOAD)
    return category.removeprefix(UPLOAD) if is_upload else ""


def _begin_sample(task: BackgroundTask) -> None:
    if task.state == "done" and (data_root() / SAMPLE).is_dir():
        return
    task.start(_make_sample)
    task.wait(0.2)  # if it exists already, the page opens with its images


def _make_sample(report: Report, should_stop: Any) -> str:
    make_sample(data_root() / SAMPLE, progress=lambda done, total: report(done / total, f"{done} of {total} images"))
    return "The sample is ready."


def _download(category: str, report: Report, should_stop: Any) -> str:
    words = {"download": "receiving", "verify": "checking", "extract": "unpacking"}

    def show(progress: Progress) -> None:
        size = f"{progress.done / 1e6:,.0f} MB" + (f" of {progress.total / 1e6:,.0f}" if progress.total else "")
        report(progress.fraction, f"{category}: {words.get(progress.phase, progress.phase)}, {size}")

    download_mvtec(category, data_root() / MVTEC, accept_licence=True, progress=show, should_stop=should_stop)
    return f"{category} is ready."
