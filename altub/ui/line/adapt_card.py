"""The card of the Line tab that adapts the chosen model to today's good images."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from altub.errors import ConfigError, DataError, RunError
from altub.files import printable
from altub.line.adapt import FLOW_TIME
from altub.training.time_left import TimeLeft
from altub.ui.choices import Choices
from altub.ui.dropped import NAMES_JS, dropped_sources
from altub.ui.errors import notice, show_errors
from altub.ui.folders import named_folder
from altub.ui.html.times import duration
from altub.ui.line.adapt_views import report_html
from altub.ui.line.adapt_work import Pending, PendingModels, adapt_model, from_folder, from_labels, keep
from altub.ui.line.drift_card import QUIET, DriftCard
from altub.ui.offers import find_model
from altub.ui.services import Services

__all__ = ["AdaptHandlers", "build_adapt"]

UPLOAD, FOLDER, LABELS = "upload", "folder", "labels"
ALL_SOURCES = "*"
ABOUT = (
    "Good parts look different today? 8 images of good parts, better 32, bring the model to them in seconds. "
    "Nothing changes until you keep the result, and any version can be put back on the Models tab."
)
AUTOMATIC = "auto"
WAY_TITLES: dict[str, str] = {
    AUTOMATIC: "Automatic (best measured)",
    "base": "Base",
    "norm-full": "Norm: mean and covariance",
    "norm-full+base": "Norm, then base",
    "norm-position": "Norm: positions",
    "norm-channel": "Norm: channels",
    "norm-position+base": "Norm: positions, then base",
    "norm-channel+base": "Norm: channels, then base",
    "flow": "Flow, then base (slow)",
}
WAY_INFO = f"Norm and base follow in seconds. Training the flow takes {FLOW_TIME}."
FIELDS = {"folder": "line-adapt-folder", "run": "line-run", "way": "line-adapt-way"}
OWNER_ONLY = "Only the owner of this page can adapt its models."


class AdaptHandlers:
    """The card's handlers; each validates its arguments.

    Args:
        may_change: may visitors of this page change its models?
        is_local: only its owner reaches the page, who may name folders of the machine.
    """

    def __init__(self, services: Services, *, may_change: bool, is_local: bool) -> None:
        self.services, self.may_change, self.is_local = services, may_change, is_local
        self.pending = PendingModels()

    def choose(self, kind: Any) -> list[Any]:
        """The fields of a kind of images."""
        sources = self.services.labels.images.sources() if kind == LABELS else {}
        choices = [("All sources", ALL_SOURCES)] + [(printable(name) or "(none)", name) for name in sources]
        return [
            gr.File(visible=kind == UPLOAD),
            gr.Textbox(visible=kind == FOLDER),
            gr.Dropdown(choices=choices, value=ALL_SOURCES, visible=kind == LABELS),
        ]

    @show_errors("Not adapted", duration=None, fields=FIELDS)
    def adapt(
        self,
        files: list[str] | None,
        names: Any,
        kind: Any,
        folder: Any,
        labels: Any,
        run_id: Any,
        token: Any,
        way: Any = AUTOMATIC,
        progress: gr.Progress = gr.Progress(),
    ) -> list[Any]:
        """Adapts a copy of the model; the one before that nobody decided on is discarded."""
        if not self.may_change:
            raise RunError(OWNER_ONLY)
        if not isinstance(run_id, str) or not run_id:
            raise RunError("Choose a model.").at("run")
        run = find_model(run_id)
        if not isinstance(way, str) or way not in WAY_TITLES:
            raise ConfigError("Choose what follows the images.").at("way")
        if kind == UPLOAD:
            if not files:
                raise DataError("There are no images yet: drop images of good parts as they look today.")
            sources = dropped_sources(files, names)
        elif kind == FOLDER:
            sources = from_folder(named_folder(folder, may_name_folders=self.is_local))
        elif kind == LABELS:
            source = None if labels in (ALL_SOURCES, None) else str(labels)
            sources = from_labels(self.services.labels, source)
        else:
            raise ConfigError("Say where the images are.")
        self.pending.drop(token)
        progress(0, desc="Reading the images")
        chosen = None if way == AUTOMATIC else way
        pending = adapt_model(self.services.models, run, sources, _shown_on(progress), chosen)
        return [self.pending.put(pending), *self._shown(pending)]

    def _shown(self, pending: Pending) -> list[Any]:
        doubtful = bool(pending.doubts)
        return [
            report_html(pending),
            gr.Row(visible=True),
            gr.Button(interactive=not doubtful),
            gr.Checkbox(value=False, visible=doubtful),
        ]

    def allow(self, token: Any, all_the_same: Any) -> Any:
        """The Keep button, where a person has looked at what is doubtful."""
        return gr.Button(interactive=bool(all_the_same) or not self.pending.get(token).doubts)

    @show_errors("Not kept")
    def keep(self, token: Any, all_the_same: Any) -> list[Any]:
        """Makes the adapted model the run's own."""
        if not self.may_change:
            raise RunError(OWNER_ONLY)
        pending = self.pending.get(token)
        if pending.doubts and not all_the_same:
            raise RunError("The images do not look like good parts: check them, or confirm that they are.")
        version = keep(self.services.models, pending)
        self.pending.drop(token)
        gr.Info(notice(f"Version {version.number} of the model is in use."))
        words = f"Version {version.number} is in use: adapted to {pending.adaptation.report.images} good images."
        return self._ended(f'<p class="hint done">{words} Any version can be put back on the Models tab.</p>')

    def discard(self, token: Any) -> list[Any]:
        """The model stays as it is."""
        self.pending.drop(token)
        return self._ended('<p class="hint">Discarded: the model is as it was.</p>')

    def _ended(self, words: str) -> list[Any]:
        return ["", words, gr.Row(visible=False), gr.Button(interactive=True), gr.Checkbox(value=False, visible=False)]


def _shown_on(progress: gr.Progress) -> Callable[[int, int], None]:
    """Shows the passes that are done, and the time that the others take."""
    left: TimeLeft | None = None

    def show(done: int, total: int) -> None:
        nonlocal left
        now = time.monotonic()
        if left is None:
            left = TimeLeft(done, total, now)
        seconds = left.step(done, now)
        words = f", about {duration(seconds)} left" if seconds >= 1 else ""
        progress(done / total, desc=f"Adapting{words}")

    return show


def build_adapt(services: Services, drift: DriftCard, *, may_change: bool, is_local: bool) -> None:
    """Lays the card out and connects it; arguments as of `AdaptHandlers`."""
    on = AdaptHandlers(services, may_change=may_change, is_local=is_local)
    token, names = gr.State(""), gr.JSON([], visible=False)
    with gr.Column(elem_id="line-adapt", elem_classes="altub-card"):
        gr.HTML(f'<h3>Adapt the model</h3><p class="hint">{ABOUT}</p>')
        if not may_change:
            gr.HTML(f'<p class="hint">{OWNER_ONLY}</p>')
            return
        kinds = [("Upload", UPLOAD), *([("Folder on this machine", FOLDER)] if is_local else []), ("Labels", LABELS)]
        kind = gr.Radio(kinds, value=UPLOAD, label="Good images of today", elem_id="line-adapt-kind")
        files = gr.File(
            label="Images of good parts",
            file_count="multiple",
            file_types=["image"],
            height=120,
            elem_id="line-adapt-files",
            elem_classes="framed",
        )
        folder = gr.Textbox(
            label="Folder", placeholder="/data/today", max_lines=1, visible=False, elem_id="line-adapt-folder"
        )
        labels = Choices(
            [("All sources", ALL_SOURCES)],
            value=ALL_SOURCES,
            label="Labelled good in",
            visible=False,
            elem_id="line-adapt-labels",
        )
        way = Choices(
            [(title, name) for name, title in WAY_TITLES.items()],
            value=AUTOMATIC,
            label="What follows",
            info=WAY_INFO,
            elem_id="line-adapt-way",
        )
        begin = gr.Button("Adapt", variant="primary", size="md", elem_id="line-adapt-begin")
        report = gr.HTML(elem_id="line-adapt-report")
        with gr.Row(visible=False, elem_id="line-adapt-decide") as decide:
            accept = gr.Button("Keep", variant="primary", size="md", min_width=110, elem_id="line-adapt-keep")
            discard = gr.Button("Discard", size="md", min_width=110, elem_id="line-adapt-discard")
            sure = gr.Checkbox(label="They are good parts all the same", visible=False, elem_id="line-adapt-sure")
    shown = [token, report, decide, accept, sure]
    kind.input(on.choose, kind, [files, folder, labels], **QUIET)
    begin.click(
        on.adapt,
        [files, names, kind, folder, labels, drift.run, token, way],
        shown,
        js=NAMES_JS,
        api_visibility="private",
        show_progress_on=report,
        concurrency_limit=1,
        concurrency_id="adapt",
    )
    sure.input(on.allow, [token, sure], accept, **QUIET)
    accept.click(on.keep, [token, sure], shown, **QUIET).success(**drift.look)
    discard.click(on.discard, token, shown, **QUIET)
    drift.adapt.click(
        None,
        js="() => document.querySelector('#line-adapt').scrollIntoView({behavior: 'smooth'})",
        api_visibility="private",
    )
