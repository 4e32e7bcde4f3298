"""The Train tab: choose images and settings, start, and watch a training through its run directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from altub.ui.services import Services
from altub.ui.train.bar import make_bar
from altub.ui.train.checks import FormChecks
from altub.ui.train.data_panel import build_data_panel
from altub.ui.train.form_memory import FormMemory
from altub.ui.train.form_values import REGIONS
from altub.ui.train.form_views import describe_backbone
from altub.ui.train.handlers import TrainHandlers
from altub.ui.train.monitor import build_monitor
from altub.ui.train.settings_form import build_form

__all__ = ["TrainTab", "build"]

# What was started is looked at, where the window does not show it.
SHOW_RUN_JS = """() => {
  const {top} = document.querySelector('#train-watch').getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) document.querySelector('#train-watch').scrollIntoView({behavior: 'smooth'});
}"""
# The first wrong field, out of the closed section that it may be in.
SHOW_WRONG_JS = """() => setTimeout(() => {
  const field = document.querySelector('#train-setup .wrong-field');
  if (!field) return;
  if (!field.getClientRects().length) document.querySelector('#train-advanced > button')?.click();
  setTimeout(() => {
    field.scrollIntoView({block: 'center', behavior: 'smooth'});
    field.querySelector('input, textarea')?.focus({preventScroll: true});
  }, 50);
}, 150)"""


@dataclass(frozen=True)
class TrainTab:
    """What other parts of the page connect to.

    seen: the visitor's `Seen`. remembered: id of the shown run. inspect: asks for the shown run in Inspect.
    clone: id of a run -> values of `form`. choose_set: name of a set of labelled images -> values of `images`.
    """

    seen: gr.State
    remembered: gr.BrowserState
    inspect: gr.Button
    clone: Callable[[Any], list[Any]]
    form: list[gr.components.Component]
    choose_set: Callable[[Any], list[Any]]
    images: list[gr.components.Component]


def build(demo: gr.Blocks, services: Services, *, may_name_folders: bool = True) -> TrainTab:
    """Fills the tab; call it inside `with gr.Tab(...)`.

    Args:
        demo: the page, for its load event.
        services: starts trainings, and knows of all runs.
        may_name_folders: offer folders of the server's machine as data.
    """
    handlers = TrainHandlers(services, is_local=may_name_folders)
    bar = make_bar()
    with gr.Row(elem_id="train-columns"):
        with gr.Column(scale=0, min_width=340, elem_id="train-setup"):
            with gr.Column(elem_classes="altub-card"):
                gr.HTML("<h3>1. Images</h3>")
                data = build_data_panel(demo, services, may_name_folders=may_name_folders)
            with gr.Column(elem_classes="altub-card"):
                gr.HTML("<h3>2. Model</h3>")
                form = build_form(data.regions)
        with gr.Column(scale=1, min_width=320, elem_id="train-watch"):
            monitor = build_monitor(demo, handlers, bar)
    bar.place()
    # Regions belong to the images: a person who chooses others draws others.
    gr.on(
        [data.category.input, data.source.input],
        lambda: "",
        None,
        form.fields[REGIONS],
        api_visibility="private",
        show_progress="hidden",
    )
    start = bar.start
    checks = FormChecks(form.infos, is_local=may_name_folders, expect=services.expect_training)
    marked = gr.State([])
    checked = {
        "fn": checks.look,
        "inputs": [marked, *data.inputs, *form.inputs],
        "outputs": [bar.check, marked, *form.fields.values()],
        "api_visibility": "private",
        "show_progress": "hidden",
        "concurrency_limit": 1,  # in the order in which they were asked for: each goes on from the marks of the last
        "concurrency_id": "check",
    }
    gr.on([field.change for field in (data.category, *form.fields.values())], **checked, trigger_mode="always_last")
    start.click(**checked).then(None, js=SHOW_WRONG_JS, api_visibility="private")
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
    ).then(None, js=SHOW_RUN_JS, api_visibility="private")
    data.category.change(
        lambda category: gr.update(interactive=bool(category)),
        data.category,
        start,
        api_visibility="private",
        show_progress="hidden",
    )
    memory = FormMemory(data.on, services.watch)
    kept, ready = gr.BrowserState(None, storage_key="altub-form", secret="altub"), gr.State(False)
    filled = [data.source, data.folder, data.category, *data.followers, form.preset, form.preset_about, form.variant]
    filled += [form.strip, *form.fields.values()]
    demo.load(memory.restore, kept, [ready, *filled], api_visibility="private", show_progress="hidden").then(**checked)
    gr.on(
        [field.change for field in (data.category, data.folder, form.preset, *form.fields.values())],
        memory.remember,
        [ready, *data.inputs, *form.inputs],
        kept,
        trigger_mode="always_last",
        api_visibility="private",
        show_progress="hidden",
        concurrency_limit=None,
    )
    # Asking whether weights are available may take seconds: not while the page is built.
    demo.load(
        describe_backbone,
        form.fields["backbone"],
        form.backbone_about,
        api_visibility="private",
        show_progress="hidden",
    )
    images = [data.source, data.category, *data.followers]
    return TrainTab(monitor.seen, monitor.remembered, bar.inspect, memory.clone, filled, data.on.choose_set, images)
