"""The panel of the images: source, category, and the ways to get more images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from altub.data import MVTEC_CATEGORIES
from altub.data.download import MVTEC_LICENCE, MVTEC_PAGE
from altub.settings import on_space, uploads_are_shared
from altub.ui.choices import Choices
from altub.ui.marks import stamp_field
from altub.ui.services import Services
from altub.ui.train.data_handlers import DataHandlers
from altub.ui.train.data_source import SAMPLE, SOURCES, category_choices
from altub.ui.train.data_views import mvtec_place
from altub.ui.train.regions_panel import NOTHING, RegionPicture, region_canvas, region_field
from altub.ui.train.review_view import REVIEW_JS

__all__ = ["DataPanel", "build_data_panel"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
POLL = 0.7  # seconds between two looks at a task


@dataclass(frozen=True)
class DataPanel:
    """The components that name the chosen images, and those that follow them. on: their handlers."""

    on: DataHandlers
    source: gr.Radio
    category: gr.Dropdown
    folder: gr.Textbox
    followers: list[Any]  # thumbnails, download, own images, timer
    regions: gr.Textbox  # the field of this setting

    @property
    def inputs(self) -> list[gr.components.Component]:
        """Source, category and folder, as `find_category` takes them."""
        return [self.source, self.category, self.folder]


def build_data_panel(demo: gr.Blocks, services: Services, *, may_name_folders: bool) -> DataPanel:
    """Lays the panel out and connects it."""
    handlers = DataHandlers(services, is_local=may_name_folders)
    first = category_choices(SAMPLE)
    source = gr.Radio(SOURCES, value=SAMPLE, label="Source", elem_id="train-source")
    category = Choices(first, value=first[0][1], label="Category", filterable=False, elem_id="train-category")
    view = gr.HTML(elem_id="train-preview")
    with gr.Accordion("Download MVTec AD", open=False, visible=False, elem_id="train-download") as download:
        gr.Markdown(
            f"[MVTec AD]({MVTEC_PAGE}) by MVTec Software GmbH: 15 categories of industrial products, 5 GB in all. "
            f"Or download it yourself and put each category's folder into {mvtec_place(may_name_folders)}.",
            elem_classes="hint",
        )
        wanted = gr.Dropdown(list(MVTEC_CATEGORIES), value=MVTEC_CATEGORIES[0], label="MVTec AD category")
        licence = gr.Checkbox(
            label=f"I accept its licence, {MVTEC_LICENCE.split(' (')[0]}: no commercial use.",
            elem_id="download-licence",
        )
        with gr.Row():
            begin = gr.Button("Download", size="md", min_width=100, elem_id="download-begin")
            # One download serves all visitors: on a Space none of them may cancel it for the others.
            cancel = gr.Button("Cancel", size="md", min_width=100, interactive=False, visible=not on_space())
        arriving = gr.HTML(elem_id="download-state")
    with gr.Column(visible=False, elem_id="train-own") as own:
        with gr.Accordion("Upload images", open=True, visible=uploads_are_shared()):
            name = gr.Textbox(label="Set name", placeholder="lid-top", max_lines=1, elem_id="upload-name")
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
            use = gr.Button("Use folder", size="md", elem_id="folder-use")
    with gr.Accordion("Check images", open=False, elem_id="train-review"):
        check = gr.Button("Check images", size="md", elem_id="review-start")
        reviewed = gr.HTML(
            '<p class="hint">Finds duplicates, images in training and test alike, and odd ones among the good.</p>',
            js_on_load=REVIEW_JS,
            elem_id="review-result",
        )
    with gr.Accordion("Regions", open=False, elem_id="train-regions-box") as regions_box:
        canvas = region_canvas(elem_id="train-regions-canvas")
        regions = region_field()
    timer = gr.Timer(POLL, active=False)
    seen = stamp_field()

    chosen = [source, category, folder]
    watched = [category, view, arriving, cancel, timer, seen]
    # Input, not change: whoever fills the form sets the category too.
    source.input(handlers.choose_source, [source, folder], [category, view, download, own, timer], **QUIET)
    category.change(handlers.draw, chosen, view, **QUIET)
    timer.tick(handlers.look, [*chosen, seen], watched, concurrency_limit=None, **QUIET)
    demo.load(handlers.open_page, chosen, watched, **QUIET)
    begin.click(handlers.start_download, [wanted, licence], [arriving, cancel, timer], **QUIET)
    if not on_space():
        cancel.click(services.download.stop, None, None, **QUIET)
    store.click(handlers.store, [name, good, defective], [category, good, defective], api_visibility="private").success(
        handlers.draw, chosen, view, **QUIET
    )
    use.click(handlers.choose_folder, folder, category, **QUIET)
    looks: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "review", "api_visibility": "private"}
    check.click(handlers.review, chosen, reviewed, **looks)
    reviewed.select(handlers.change_image, [source, category], None, **QUIET).success(
        handlers.review, chosen, reviewed, **looks
    ).then(handlers.draw, chosen, view, **QUIET)
    category.change(lambda: "", None, reviewed, **QUIET)
    # Opened when it is wanted: a picture for every category that is only passed by would be sent for nothing.
    regions_box.expand(RegionPicture(is_local=may_name_folders).look, chosen, canvas, **QUIET)
    category.change(lambda: (gr.Accordion(open=False), NOTHING), None, [regions_box, canvas], **QUIET)
    return DataPanel(handlers, source, category, folder, [view, download, own, timer], regions)
