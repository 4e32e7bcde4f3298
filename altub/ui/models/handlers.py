"""What the Models tab does: pushes, pulls and lists, each in a thread, so that a slow or missing Hub freezes nothing.

On a page that only its owner reaches, the owner's token is used and the work is seen after a reload too; on a Space
every visitor has their own work and signs in with their own account; on any other page that people share, there is no
token at all.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from altub.errors import about
from altub.hub import Listing, find_models, parse_reference, pull, push
from altub.runs.run import new_run_id
from altub.settings import runs_root
from altub.ui.background import BackgroundTask, Report
from altub.ui.errors import show_errors
from altub.ui.models import views
from altub.ui.offers import find_model, list_offers

__all__ = ["HubSession", "ModelsHandlers"]


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


class ModelsHandlers:
    """The tab's handlers; those that change something return what `look` does.

    Args:
        is_local: only the owner reaches the page.
        login: visitors sign in with their Hugging Face account.
    """

    def __init__(self, is_local: bool, login: bool) -> None:
        self.is_local, self.login = is_local, login
        #: The token of visitors who do not sign in: the owner's (None), or none at all (False).
        self.token: Any = None if is_local else False

    def look(self, session: HubSession) -> list[Any]:
        """How the push and the pull are going, the list, and the timer that asks again."""
        return [
            views.task_html(session.pushing, session.pushed_to),
            views.task_html(session.pulling),
            views.listing_html(session.listing, session.found, self.is_local),
            gr.Timer(active=session.is_busy),
        ]

    def list_runs_to_push(self) -> list[Any]:
        choices = [(offer.label, offer.id) for offer in list_offers()]
        first = choices[0][1] if choices else None
        return [gr.Dropdown(choices=choices, value=first, visible=bool(choices)), gr.HTML(visible=not choices)]

    def start_push_with_login(
        self,
        session: HubSession,
        run_id: Any,
        name: Any,
        licence: Any,
        private: Any,
        examples: Any,
        token: gr.OAuthToken | None,
    ) -> list[Any]:
        return self._start_push(session, token.token if token else False, run_id, name, licence, private, examples)

    def start_push(
        self, session: HubSession, run_id: Any, name: Any, licence: Any, private: Any, examples: Any
    ) -> list[Any]:
        return self._start_push(session, self.token, run_id, name, licence, private, examples)

    @show_errors("Push failed", fields={"run": "hub-run", "repo": "hub-repo"})
    def _start_push(
        self, session: HubSession, token: Any, run_id: Any, name: Any, licence: Any, private: Any, examples: Any
    ) -> list[Any]:
        with about("run"):
            run = find_model(str(run_id or ""))
        with about("repo"):
            target = parse_reference(str(name or ""))
        if token is False:
            raise gr.Error(
                "Sign in with your Hugging Face account first." if self.login else views.NO_LOGIN, print_exception=False
            )

        def work(report: Report, _should_stop: Any) -> str:
            session.pushed_to = ""
            result = push(
                run.model_dir,
                target.repo,
                revision=target.revision,
                private=private is True,
                licence=str(licence) if licence else None,
                include_examples=examples is True,
                token=token,
                report=report,
            )
            session.pushed_to = result.url
            done = f"Pushed to {result.repo}" if result.changed else f"{result.repo} is up to date already"
            kept = " The card was edited on the Hub, so it was kept." if result.card_kept else ""
            return f"{done}, commit {result.commit[:7]}.{kept}"

        if not session.pushing.start(work):
            gr.Warning("A push is running: start the next one when it has ended.")
        return self._busy(session)

    @show_errors("Pull failed", fields={"reference": "hub-reference"})
    def start_pull(self, session: HubSession, name: Any, with_backbone: Any) -> list[Any]:
        with about("reference"):
            target = parse_reference(str(name or ""))

        def work(report: Report, _should_stop: Any) -> str:
            # On a page that others reach: no token, no private model, nothing that someone else left in the cache.
            run = pull(
                str(target),
                runs_root() / new_run_id(target.repo.partition("/")[2]),
                token=None if self.is_local else False,
                may_use_cache=self.is_local,
                public_only=not self.is_local,
                with_backbone=self.is_local and with_backbone is True,
                report=report,
            )
            status = run.read_status()
            return " ".join([status.message, "You can choose it in Inspect now.", *status.notes])

        if not session.pulling.start(work):
            gr.Warning("A pull is running: start the next one when it has ended.")
        return self._busy(session)

    def start_listing_with_login(self, session: HubSession, token: gr.OAuthToken | None) -> list[Any]:
        return self._start_listing(session, token.token if token else False)

    def start_listing(self, session: HubSession) -> list[Any]:
        return self._start_listing(session, self.token)

    def _start_listing(self, session: HubSession, token: Any) -> list[Any]:
        def work(report: Report, _should_stop: Any) -> str:
            report(None, "contacting the Hub")
            session.found = find_models(token)
            return "Done."

        session.listing.start(work)
        return self._busy(session)

    def _busy(self, session: HubSession) -> list[Any]:
        """As `look`, with the timer on: the work that was just started may not have begun."""
        return [*self.look(session)[:-1], gr.Timer(active=True)]
