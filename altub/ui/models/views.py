"""What the Models tab shows, as HTML."""

from __future__ import annotations

from html import escape

from altub.hub import HubModel, Listing
from altub.ui.background import BackgroundTask
from altub.ui.html.tasks import problem_html, running_html, task_html

__all__ = ["NONE_YET", "NO_LOGIN", "NO_RUN", "listing_html", "task_html"]

NONE_YET = '<p class="hub-note">Press Refresh to load your models and the public ones tagged “altub”.</p>'
NO_RUN = '<p class="hub-note"><b>No model to push yet.</b> Train one on the Train tab, or pull one.</p>'
NO_TOKEN = (
    "Not signed in to Hugging Face: run <code>hf auth login</code> in a terminal of this machine, or start AltUB with "
    "HF_TOKEN set."
)
NO_LOGIN = "Pushing is disabled, since others can use this page too: push from the machine that it runs on."


def listing_html(task: BackgroundTask, found: Listing | None, is_local: bool) -> str:
    """The models on the Hub, or how their list is being loaded."""
    if task.is_running:
        return running_html(task)
    if task.state == "failed":
        return problem_html(task.text)
    return NONE_YET if found is None else _models(found, is_local)


def _models(found: Listing, is_local: bool) -> str:
    """The user's models, then the public ones; a click on one fills the field of the pull.

    Args:
        is_local: only the owner reaches the page, whose token counts.
    """
    who = f"Models of {escape(found.user)}" if found.user else "Yours"
    if found.user:
        none_own = "You have no models yet: push one."
    else:
        none_own = NO_TOKEN if is_local else "Sign in to see yours."
    own = "".join(map(_row, found.own)) or f'<p class="hub-note">{none_own}</p>'
    public = "".join(map(_row, found.public)) or '<p class="hub-note">No public models yet.</p>'
    return f"<h4>{who}</h4>{own}<h4>Public</h4>{public}"


def _row(model: HubModel) -> str:
    marks = [word for word, is_so in (("private", model.private), ("gated", model.gated)) if is_so]
    marks += [f"{model.downloads} downloads"] if model.downloads else []
    numbers = [f"{escape(name)} <b>{value:.3f}</b>" for name, value in list(model.metrics.items())[:3]]
    about = " · ".join([*numbers, *marks]) or "no metrics in its model card"
    name = escape(model.repo)
    return (
        f'<button type="button" class="hub-model" data-repo="{name}" title="Choose {name} to pull">'
        f"<b>{name}</b><span>{about}</span></button>"
    )
