"""The Label tab: images in, a queue, the canvas, and what the labels say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.events import Dependency

from altub.settings import uploads_are_shared
from altub.ui.dropped import NAMES_JS
from altub.ui.label import views
from altub.ui.label.canvas import mask_canvas
from altub.ui.label.choice import ALL_SOURCES, UNLABELLED
from altub.ui.label.desk import LabelDesk
from altub.ui.label.export import FORMAT_CHOICES
from altub.ui.label.handlers import LabelHandlers
from altub.ui.label.hub_card import HubCard
from altub.ui.label.insight_panel import InsightPanel
from altub.ui.services import Services

__all__ = ["LabelTab", "build"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
POLL = 0.7  # seconds between two looks at the scoring
FETCH_JS = """() => {
  // The button gets its address shortly after the response arrives.
  const click = (left) => {
    const link = document.querySelector('#label-file a[href], a#label-file[href]');
    if (link) link.click();
    else if (left) setTimeout(() => click(left - 1), 100);
    else document.querySelector('#label-file')?.click();
  };
  setTimeout(() => click(20), 150);
}"""


@dataclass(frozen=True)
class LabelTab:
    """What other tabs connect to: the event that makes a set to train on, and the set's name."""

    making: Dependency
    made: gr.State


def build(services: Services, tab: gr.Tab, *, is_local: bool) -> LabelTab | None:
    """Fills the tab; call it inside `with gr.Tab("Label") as tab:`. None where labels are not kept.

    Args:
        services: the label store, the models and the scorer.
        is_local: only its owner reaches the page, who may name folders of the machine.
    """
    if not uploads_are_shared():
        gr.HTML(views.DISABLED)
        return None
    desk = LabelDesk(services)
    on = LabelHandlers(services, desk, is_local=is_local)
    value, scored, names = gr.State({}), gr.State(0), gr.JSON([], visible=False)
    timer = gr.Timer(POLL, active=False)
    with gr.Row(elem_id="label", equal_height=False):
        with gr.Column(scale=0, min_width=270, elem_id="label-left"):
            with gr.Column(elem_classes="label-card"):
                # Any value is accepted and looked up on the server: an older choice must not fail before that.
                run = gr.Dropdown([], label="Model", allow_custom_value=True, elem_id="label-run")
                scoring = gr.HTML(elem_id="label-scoring")
                show = gr.Dropdown(
                    list(views.SHOW_CHOICES), value=UNLABELLED, label="Show", filterable=False, elem_id="label-show"
                )
                kind = gr.Dropdown(
                    [("All types", "")],
                    value="",
                    label="Type",
                    allow_custom_value=True,
                    visible=False,
                    elem_id="label-type",
                )
                order = gr.Dropdown(
                    list(views.QUEUE_ORDER_CHOICES),
                    value="nearest",
                    label="Order",
                    info="One in five is a random pick.",
                    allow_custom_value=True,
                    elem_id="label-order",
                )
                source = gr.Dropdown(
                    [("All sources", ALL_SOURCES)],
                    value=ALL_SOURCES,
                    label="Source",
                    allow_custom_value=True,
                    elem_id="label-source",
                )
            with gr.Column(elem_classes="label-card"):
                gr.HTML("<h3>Add images</h3>")
                files = gr.File(
                    label="Images", file_count="multiple", file_types=["image"], height=104, elem_id="label-files"
                )
                folder_files = gr.UploadButton(
                    "Folder …", file_count="directory", size="sm", elem_id="label-folder-files"
                )
                new_source = gr.Textbox(
                    label="Source name", placeholder="line 3", max_lines=1, max_length=200, elem_id="label-new-source"
                )
                with gr.Accordion("Test images of a category", open=False, elem_id="label-category-box"):
                    category = gr.Dropdown([], label="Category", allow_custom_value=True, elem_id="label-category")
                    add_category = gr.Button("Add test images", size="sm", elem_id="label-add-category")
                with gr.Accordion("Folder on this machine", open=False, visible=is_local, elem_id="label-folder-box"):
                    folder = gr.Textbox(label="Folder", placeholder="/data/lids", max_lines=1, elem_id="label-folder")
                    add_folder = gr.Button("Add folder", size="sm", elem_id="label-add-folder")
                adding = gr.HTML(elem_id="label-adding")
        with gr.Column(scale=1, min_width=320, elem_id="label-right"):
            canvas = mask_canvas(desk.functions(), elem_id="label-canvas")
            insight = InsightPanel(services, desk)
            with gr.Row(elem_id="label-export", elem_classes="label-card"):
                form = gr.Dropdown(
                    list(FORMAT_CHOICES),
                    value=FORMAT_CHOICES[0][1],
                    label="Export labels",
                    filterable=False,
                    elem_id="label-format",
                )
                export = gr.Button("Download", size="md", scale=0, min_width=130, elem_id="label-download")
                file = gr.DownloadButton(visible="hidden", elem_id="label-file")
            hub = HubCard(services, desk) if is_local else None
            with gr.Row(elem_id="label-training", elem_classes="label-card"):
                with_good = gr.Checkbox(
                    True,
                    label="With the good images of the model's training",
                    info="Good labels are trained on, labelled defects and their masks become the test set.",
                    elem_id="label-with-good",
                )
                learned = gr.Slider(
                    0,
                    80,
                    value=0,
                    step=10,
                    buttons=[],
                    label="Defects to learn from (%)",
                    info="Of those with masks; they are not tested on. “Defect epochs” in Train's settings uses them.",
                    elem_id="label-learned",
                )
                train = gr.Button("Train on these labels", size="md", scale=0, min_width=190, elem_id="label-train")
                made = gr.State("")

    fields = [run, show, order, source, kind]
    canvas.enter(on.enter, fields, [canvas, value, run, category, source, kind, scoring, timer], **QUIET)
    tab.select(on.list_models, run, run, **QUIET)
    gr.on(
        [field.input for field in fields],
        on.choose,
        [value, *fields],
        [canvas, value, order, kind, scoring, timer],
        trigger_mode="always_last",
        **QUIET,
    )
    insight.connect(canvas, value, scored, fields)
    if hub is not None:
        hub.connect(value, fields)
    timer.tick(on.look, run, [scoring, timer, scored], **QUIET)
    adds = {"outputs": [canvas, value, source, scoring, timer], "show_progress_on": adding, "api_visibility": "private"}
    for field in (files, folder_files):
        field.upload(on.add_files, [field, names, new_source, value, *fields], js=NAMES_JS, **adds).then(
            lambda: None, None, field, **QUIET
        )
    add_category.click(on.add_category, [category, new_source, value, *fields], **adds)
    add_folder.click(on.add_folder, [folder, new_source, value, *fields], **adds)
    export.click(
        on.export,
        [form, value, *fields],
        file,
        api_visibility="private",
        show_progress_on=form,
        concurrency_limit=2,
    ).success(None, js=FETCH_JS, api_visibility="private")
    making = train.click(
        on.make_set,
        [with_good, learned, value, *fields],
        made,
        api_visibility="private",
        show_progress_on=with_good,
        concurrency_limit=1,
    )
    return LabelTab(making, made)
