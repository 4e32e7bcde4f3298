"""The Models tab: a run is pushed to the Hugging Face Hub, a model of the Hub is pulled into a run."""

from __future__ import annotations

from typing import Any

import gradio as gr

from altub.hub.card import LICENCES
from altub.inference.model_cache import ModelCache
from altub.settings import space_login
from altub.ui.launch import ServerOptions
from altub.ui.models import views
from altub.ui.models.damaged import build_damaged
from altub.ui.models.detectability_card import build_detectability
from altub.ui.models.handlers import HubSession, ModelsHandlers
from altub.ui.models.runs_panel import RunsPanel, build_runs
from altub.ui.models.versions_panel import build_versions
from altub.ui.watch import RunWatch

__all__ = ["build"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
POLL = 0.7  # seconds between two looks while something is running
# The name of a model in the list fills the field; constant code, the name comes from an escaped attribute.
FILL_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-repo]');
  const field = document.querySelector('#hub-reference textarea, #hub-reference input');
  if (!button || !field) return;
  field.value = button.dataset.repo;
  field.dispatchEvent(new Event('input', {bubbles: true}));
  field.scrollIntoView({block: 'center', behavior: 'smooth'});
});"""


def build(demo: gr.Blocks, tab: gr.Tab, options: ServerOptions, watch: RunWatch, models: ModelCache) -> RunsPanel:
    """Fills the tab with runs, their models and the Hub; call it inside `with gr.Tab("Models") as tab:`."""
    session = gr.State(HubSession(options.is_local))
    login = options.space and space_login()
    on = ModelsHandlers(options.is_local, login)
    timer = gr.Timer(POLL, active=False)
    runs = build_runs(demo, tab, watch, may_change=not options.space, may_delete=options.is_local)
    build_versions(tab, runs.chosen, models, watch.root, may_change=not options.space)
    with gr.Row(elem_id="hub", equal_height=False):
        with gr.Column(min_width=320, elem_classes="hub-card"):
            gr.HTML("<h3>Push a model to the Hub</h3>")
            if login:
                gr.LoginButton(elem_id="hub-login")
            elif not options.is_local:
                gr.HTML(f'<p class="hub-note">{views.NO_LOGIN}</p>')
            # Any value is accepted here and looked up among the runs: an older choice must not fail before that.
            run = gr.Dropdown([], label="Model", allow_custom_value=True, elem_id="hub-run")
            empty = gr.HTML(views.NO_RUN, visible=False)
            repo = gr.Textbox(label="Repo", placeholder="user/name", max_lines=1, elem_id="hub-repo")
            licence = gr.Dropdown(
                [("not specified", ""), *((title, name) for name, title in LICENCES.items())],
                value="",
                label="Licence",
                info="Of the model. One trained on MVTec AD may not be used commercially.",
                filterable=False,
                elem_id="hub-licence",
            )
            private = gr.Checkbox(label="Create as private", elem_id="hub-private")
            examples = gr.Checkbox(
                label="Publish heatmaps of a few test images (no images are published otherwise)",
                elem_id="hub-examples",
            )
            send = gr.Button("Push", variant="primary", elem_id="hub-push")
            push_state = gr.HTML(elem_id="hub-push-state")
        with gr.Column(min_width=320, elem_classes="hub-card"):
            gr.HTML("<h3>Pull a model from the Hub</h3>")
            reference = gr.Textbox(
                label="Model", placeholder="user/name or user/name@revision", max_lines=1, elem_id="hub-reference"
            )
            backbone = gr.Checkbox(
                label="Fetch its backbone too",
                info="The network that it was trained on, if its weights are not on this machine.",
                visible=options.is_local,
                elem_id="hub-backbone",
            )
            fetch = gr.Button("Pull", variant="primary", elem_id="hub-pull")
            pull_state = gr.HTML(elem_id="hub-pull-state")
            with gr.Row(elem_id="hub-list-head"):
                gr.HTML("<h3>Models on the Hub</h3>")
                refresh = gr.Button("Refresh", size="sm", scale=0, min_width=90, elem_id="hub-refresh")
            models = gr.HTML(views.NONE_YET, js_on_load=FILL_JS, elem_id="hub-list")
    build_detectability(demo, tab, may_measure=not options.space)
    build_damaged(demo, tab, may_delete=options.is_local)
    shown = [push_state, pull_state, models, timer]

    start_push = on.start_push_with_login if login else on.start_push
    start_listing = on.start_listing_with_login if login else on.start_listing
    send.click(start_push, [session, run, repo, licence, private, examples], shown, **QUIET)
    fetch.click(on.start_pull, [session, reference, backbone], shown, **QUIET)
    refresh.click(start_listing, session, shown, **QUIET)
    timer.tick(on.look, session, shown, **QUIET)
    demo.load(on.look, session, shown, **QUIET)
    # Not at every tick: a choice is not taken back while it is being made.
    gr.on([demo.load, tab.select], on.list_runs_to_push, None, [run, empty], **QUIET)
    return runs
