"""The Models tab: a run goes to the Hugging Face Hub, a model of the Hub becomes a run.

Work goes on in threads, so that a slow or missing Hub freezes nothing. On a page that only its owner reaches, the
owner's token is used and the work is seen after a reload too; on a Space every visitor has their own work and logs in
with their own account; on any other page that people share, there is no token at all.
"""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from altub.errors import AltUBError
from altub.hub import HubModel, Listing, find_models, parse_reference, pull, push
from altub.hub.card import LICENCES
from altub.runs.run import new_run_id
from altub.settings import runs_root, space_login
from altub.ui.background import BackgroundTask, Report
from altub.ui.launch import ServerOptions
from altub.ui.models.damaged import build_damaged
from altub.ui.offers import find_model, list_offers

__all__ = ["build"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
POLL = 0.7  # seconds between two looks while something is under way
NONE_YET = '<p class="hub-note">Press Refresh to ask the Hub for your models and the public ones tagged “altub”.</p>'
NO_RUN = '<p class="hub-note"><b>No model to push yet.</b> Train one on the Train tab, or pull one.</p>'
NO_TOKEN = (
    "Not signed in to Hugging Face: run <code>hf auth login</code> in a terminal of this machine, or start AltUB with "
    "HF_TOKEN set."
)
NO_LOGIN = "Pushing is disabled, since others can use this page too: push from the machine that it runs on."
# The name of a model in the list fills the field; constant code, the name comes from an escaped attribute.
FILL_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-repo]');
  const field = document.querySelector('#hub-reference textarea, #hub-reference input');
  if (!button || !field) return;
  field.value = button.dataset.repo;
  field.dispatchEvent(new Event('input', {bubbles: true}));
  field.scrollIntoView({block: 'center', behavior: 'smooth'});
});"""


class HubSession:
    """The running tasks of one visitor; shared=True: one session for everybody, since every visitor is the owner."""

    def __init__(self, shared: bool) -> None:
        self.shared = shared
        self.pushing, self.pulling = BackgroundTask("The push"), BackgroundTask("The pull")
        self.listing = BackgroundTask("The list")
        self.found: Listing | None = None
        self.pushed_to = ""  # address of the last commit

    def __deepcopy__(self, _memo: dict) -> HubSession:
        return self if self.shared else HubSession(False)

    @property
    def is_busy(self) -> bool:
        return any(task.is_running for task in (self.pushing, self.pulling, self.listing))


def build(demo: gr.Blocks, tab: gr.Tab, options: ServerOptions) -> None:
    """Fills the tab; call it inside `with gr.Tab("Models") as tab:`."""
    session = gr.State(HubSession(options.is_local))
    login = options.space and space_login()
    timer = gr.Timer(POLL, active=False)
    with gr.Row(elem_id="hub", equal_height=False):
        with gr.Column(min_width=320, elem_classes="hub-card"):
            gr.HTML("<h3>Push a model to the Hub</h3>")
            if login:
                gr.LoginButton(elem_id="hub-login")
            elif not options.is_local:
                gr.HTML(f'<p class="hub-note">{NO_LOGIN}</p>')
            # Whatever arrives is looked up among the runs: an older choice must not fail before that.
            run = gr.Dropdown([], label="Model", allow_custom_value=True, elem_id="hub-run")
            empty = gr.HTML(NO_RUN, visible=False)
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
            fetch = gr.Button("Pull", variant="primary", elem_id="hub-pull")
            pull_state = gr.HTML(elem_id="hub-pull-state")
            with gr.Row(elem_id="hub-list-head"):
                gr.HTML("<h3>Models on the Hub</h3>")
                refresh = gr.Button("Refresh", size="sm", scale=0, min_width=90, elem_id="hub-refresh")
            models = gr.HTML(NONE_YET, js_on_load=FILL_JS, elem_id="hub-list")
    build_damaged(demo, tab, may_delete=options.is_local)
    shown = [push_state, pull_state, models, timer]

    def look(session: HubSession) -> list[Any]:
        if session.listing.is_running:
            listed = _progress(session.listing)
        elif session.listing.state == "failed":
            listed = _problem(session.listing.text)
        else:
            listed = _list(session.found, options.is_local) if session.found else NONE_YET
        states = [_state(session.pushing, session.pushed_to), _state(session.pulling)]
        return [*states, listed, gr.Timer(active=session.is_busy)]

    def list_runs_to_push() -> list[Any]:
        choices = [(offer.label, offer.id) for offer in list_offers()]
        first = choices[0][1] if choices else None
        return [gr.Dropdown(choices=choices, value=first, visible=bool(choices)), gr.HTML(visible=not choices)]

    def begin_push(
        session: HubSession, token: Any, run_id: Any, name: Any, terms: Any, hidden: Any, show: Any
    ) -> list[Any]:
        try:
            chosen = find_model(str(run_id or ""))
            target = parse_reference(str(name or ""))
        except AltUBError as error:
            raise gr.Error(str(error), print_exception=False) from error
        if token is False:
            raise gr.Error("Sign in with your Hugging Face account first." if login else NO_LOGIN)

        def work(report: Report, _should_stop: Any) -> str:
            session.pushed_to = ""
            result = push(
                chosen.model_dir,
                target.repo,
                revision=target.revision,
                private=hidden is True,
                licence=str(terms) if terms else None,
                include_examples=show is True,
                token=token,
                report=report,
            )
            session.pushed_to = result.url
            done = f"Pushed to {result.repo}" if result.changed else f"{result.repo} is up to date already"
            kept = " The card was edited on the Hub, so it was kept." if result.card_kept else ""
            return f"{done}, commit {result.commit[:7]}.{kept}"

        if not session.pushing.start(work):
            gr.Warning("A push is running: start the next one when it has ended.")
        return [*look(session)[:-1], gr.Timer(active=True)]

    def begin_pull(session: HubSession, name: Any) -> list[Any]:
        try:
            wanted = parse_reference(str(name or ""))
        except AltUBError as error:
            raise gr.Error(str(error), print_exception=False) from error

        def work(report: Report, _should_stop: Any) -> str:
            # On a page that others reach: no token, no private model, nothing that somebody else left in the cache.
            made = pull(
                str(wanted),
                runs_root() / new_run_id(wanted.repo.partition("/")[2]),
                token=None if options.is_local else False,
                may_use_cache=options.is_local,
                public_only=not options.is_local,
                report=report,
            )
            status = made.read_status()
            return " ".join([status.message, "You can choose it in Inspect now.", *status.notes])

        if not session.pulling.start(work):
            gr.Warning("A pull is running: start the next one when it has ended.")
        return [*look(session)[:-1], gr.Timer(active=True)]

    def begin_list(session: HubSession, token: Any) -> list[Any]:
        def work(report: Report, _should_stop: Any) -> str:
            report(None, "contacting the Hub")
            session.found = find_models(token)
            return "Done."

        session.listing.start(work)
        return [*look(session)[:-1], gr.Timer(active=True)]

    fields = [run, repo, licence, private, examples]
    if login:

        def with_login_push(
            session: HubSession, run_id: Any, name: Any, terms: Any, hidden: Any, show: Any, token: gr.OAuthToken | None
        ) -> list[Any]:
            return begin_push(session, token.token if token else False, run_id, name, terms, hidden, show)

        def with_login_list(session: HubSession, token: gr.OAuthToken | None) -> list[Any]:
            return begin_list(session, token.token if token else False)

        start_push, start_list = with_login_push, with_login_list
    else:
        own: Any = None if options.is_local else False

        def start_push(session: HubSession, *values: Any) -> list[Any]:
            return begin_push(session, own, *values)

        def start_list(session: HubSession) -> list[Any]:
            return begin_list(session, own)

    send.click(start_push, [session, *fields], shown, **QUIET)
    fetch.click(begin_pull, [session, reference], shown, **QUIET)
    refresh.click(start_list, session, shown, **QUIET)
    timer.tick(look, session, shown, **QUIET)
    demo.load(look, session, shown, **QUIET)
    # Not at every tick: a choice is not taken back while it is being made.
    gr.on([demo.load, tab.select], list_runs_to_push, None, [run, empty], **QUIET)


def _state(task: BackgroundTask, url: str = "") -> str:
    if task.state == "idle":
        return ""
    if task.state == "running":
        return _progress(task)
    if task.state == "failed":
        return _problem(task.text)
    link = ""
    if url.startswith(("https://", "http://")):
        link = f' <a href="{escape(url)}" target="_blank" rel="noopener">Show the commit</a>'
    return f'<p class="hub-note done">{escape(task.text)}{link}</p>'


def _progress(task: BackgroundTask) -> str:
    return f'<p class="hub-note">{escape(task.text or "starting")} …</p><div class="hub-bar"><i></i></div>'


def _problem(text: str) -> str:
    return f'<p class="hub-note problem">{escape(text)}</p>'


def _list(found: Listing, is_local: bool) -> str:
    who = f"Models of {escape(found.user)}" if found.user else "Yours"
    none_own = "You have no models yet: push one." if found.user else NO_TOKEN if is_local else "Sign in to see yours."
    own = "".join(map(_row, found.own)) or f'<p class="hub-note">{none_own}</p>'
    public = "".join(map(_row, found.public)) or '<p class="hub-note">No public models yet.</p>'
    return f"<h4>{who}</h4>{own}<h4>Public</h4>{public}"


def _row(model: HubModel) -> str:
    marks = [word for word, is_so in (("private", model.private), ("gated", model.gated)) if is_so]
    marks += [f"{model.downloads} downloads"] if model.downloads else []
    numbers = [f"{escape(name)} <b>{value:.3f}</b>" for name, value in list(model.metrics.items())[:3]]
    about = " · ".join([*numbers, *marks]) or "no metrics on its card"
    name = escape(model.repo)
    return (
        f'<button type="button" class="hub-model" data-repo="{name}" title="Choose {name} to pull">'
        f"<b>{name}</b><span>{about}</span></button>"
    )
