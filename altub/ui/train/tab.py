"""The Train tab: choose images and settings, start, and watch a training through its run directory."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from altub.ui.services import Services
from altub.ui.train.checks import FormChecks
from altub.ui.train.data_panel import build_data_panel
from altub.ui.train.form_views import describe_backbone
from altub.ui.train.handlers import TrainHandlers
from altub.ui.train.monitor import build_monitor
from altub.ui.train.settings_form import build_form

__all__ = ["TrainTab", "build"]


@dataclass(frozen=True)
class TrainTab:
    """What other parts of the page connect to. dark: does the browser show the page dark?"""

    dark: gr.Checkbox


def build(demo: gr.Blocks, services: Services, *, may_name_folders: bool = True) -> TrainTab:
    """Fills the tab; call it inside `with gr.Tab(...)`.

    Args:
        demo: the page, for its load event.
        services: starts trainings, and knows of all runs.
        may_name_folders: offer folders of the server's machine as data.
    """
    handlers = TrainHandlers(services, is_local=may_name_folders)
    with gr.Row(elem_id="train-columns"):
        with gr.Column(scale=0, min_width=340, elem_id="train-setup"):
            with gr.Column(elem_classes="altub-card"):
                gr.HTML("<h3>1. Images</h3>")
                data = build_data_panel(demo, services, may_name_folders=may_name_folders)
            with gr.Column(elem_classes="altub-card"):
                gr.HTML("<h3>2. Model</h3>")
                form = build_form()
            check = gr.HTML(elem_id="train-check")
            start = gr.Button("Start training", variant="primary", size="lg", elem_id="train-start")
        with gr.Column(scale=1, min_width=320, elem_id="train-watch"):
            monitor = build_monitor(demo, handlers)
    checks = FormChecks(form.infos, is_local=may_name_folders)
    marked = gr.State([])
    checked = {
        "fn": checks.look,
        "inputs": [marked, *data.inputs, *form.inputs],
        "outputs": [check, marked, *form.fields.values()],
        "api_visibility": "private",
        "show_progress": "hidden",
        "concurrency_limit": 1,  # in the order in which they were asked for: each goes on from the marks of the last
        "concurrency_id": "check",
    }
    gr.on([field.change for field in (data.category, *form.fields.values())], **checked, trigger_mode="always_last")
    start.click(**checked)
    start.click(
        handlers.start,
        [monitor.seen, monitor.visitor, *data.inputs, *form.inputs],
        None,
        api_visibility="private",
        show_progress="minimal",
        concurrency_limit=1,
    ).success(
        handlers.look,
        monitor.inputs,
        monitor.outputs,
        api_visibility="private",
        show_progress="hidden",
        concurrency_limit=None,
    )
    data.category.change(
        lambda category: gr.update(interactive=bool(category)),
        data.category,
        start,
        api_visibility="private",
        show_progress="hidden",
    )
    demo.load(**checked)
    # Asking whether weights are available may take seconds: not while the page is built.
    demo.load(
        describe_backbone,
        form.fields["backbone"],
        form.backbone_about,
        api_visibility="private",
        show_progress="hidden",
    )
    return TrainTab(monitor.dark)
