"""The state of a training in words and a bar."""

from __future__ import annotations

from html import escape

from altub.ui.html.times import duration
from altub.ui.watch import RunView

__all__ = ["first_steps", "no_run_card", "now_line", "status_card"]

_WORDS = {
    "queued": "Queued",
    "running": "Training",
    "stopped": "Stopped",
    "failed": "Failed",
    "finished": "Finished",
    "interrupted": "Interrupted",
}


def status_card(view: RunView, images_per_second: float | None = None) -> str:
    """State, progress, facts and remarks of one run."""
    status, config = view.status, view.config
    share = min(max(status.progress, 0.0), 1.0)
    return (
        f'<div class="status {view.state}">'
        f'<div class="status-head"><span class="pill {view.state}">{_WORDS.get(view.state, view.state)}</span>'
        f"<h3>{escape(config.category)}</h3><span class='muted'>{escape(_stage(view))}</span></div>"
        f'<div class="bar {escape(status.phase)}" role="progressbar" aria-label="Training" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{100 * share:.0f}"><i style="width:{100 * share:.1f}%"></i></div>'
        f'<dl class="facts">{"".join(_facts(view, images_per_second))}</dl>{_remarks(view)}</div>'
    )


def now_line(view: RunView) -> str:
    """The state of a run in one line, for the bar that is always in sight."""
    status = view.status
    share = min(max(status.progress, 0.0), 1.0)
    facts = []
    if view.state == "queued" and view.position:
        facts.append("next in the queue" if view.position == 1 else f"number {view.position} in the queue")
    elif view.state != "queued":
        facts.append(f"epoch {status.epoch} of {view.config.epochs}")
    if view.state == "running" and status.seconds_left is not None:
        facts.append(f"{duration(status.seconds_left)} left")
    bar = ""
    if view.is_active:
        bar = (
            f'<div class="bar {escape(status.phase)}" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i></div>'
        )
    return (
        f'<div class="now {view.state}"><p><span class="pill {view.state}">{_WORDS.get(view.state, view.state)}</span>'
        f"<b>{escape(view.config.category)}</b> <span>{escape(' · '.join(facts))}</span></p>{bar}</div>"
    )


def no_run_card() -> str:
    """What to do when there is no run yet."""
    return (
        '<div class="status none"><h3>No training yet</h3><p>The built-in sample shows how it works: it needs no '
        "download and no GPU.</p></div>"
    )


def first_steps() -> str:
    """How to train on one's own images."""
    return (
        '<div class="steps"><h4>Or train on your own images</h4><ol>'
        "<li><b>Choose images.</b> About 50 of good parts are enough; defective ones are optional.</li>"
        "<li><b>Press Start training.</b> The preset is a good start; nothing else must be set.</li>"
        "<li><b>Watch.</b> Losses, the learned base and heatmaps of test images appear here after every epoch. "
        "Then open Inspect and drop images on the model.</li></ol></div>"
    )


def _stage(view: RunView) -> str:
    if view.state == "queued" and view.position:
        return (
            "next in the queue: starts after one training"
            if view.position == 1
            else f"number {view.position} in the queue: starts after {view.position} trainings"
        )
    return view.status.stage if view.is_active else ""


def _facts(view: RunView, images_per_second: float | None) -> list[str]:
    status, config = view.status, view.config
    facts = [("Epoch", f"{status.epoch} of {config.epochs}")]
    if view.state == "running" and status.phase:
        facts.append(("Phase", f'<span class="phase {escape(status.phase)}">{escape(status.phase)}</span>'))
    if view.state == "running" and status.seconds_left is not None:
        facts.append(("Time left", duration(status.seconds_left)))
    if status.seconds:
        facts.append(("Trained for", duration(status.seconds)))
    if images_per_second:
        facts.append(("Speed", f"{images_per_second:.0f} images/s"))
    facts.append(("Backbone", escape(status.backbone or config.backbone)))
    facts.append(("Image size", f"{config.image_size} px"))
    if status.device:
        facts.append(("Device", escape(status.device)))
    return [f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts]


def _remarks(view: RunView) -> str:
    status, place = view.status, view.place
    remarks = []
    if place is not None:
        links = ", ".join(
            f'<a href="{escape(address)}" target="_blank" rel="noopener">{escape(text)}</a>'
            for text, address in place.links
        )
        remarks.append(
            f'<p class="note remote"><span>{"Runs" if view.is_active else "Ran"} on {escape(place.name)} '
            f"({escape(place.detail)}): {links}.</span></p>"
        )
    if status.message and not (view.state == "stopped" and not status.message):
        kind = "error" if view.state in ("failed", "interrupted") else "note"
        remarks.append(f'<p class="{kind}">{escape(status.message)}</p>')
    remarks += [f'<p class="note">{escape(note)}</p>' for note in dict.fromkeys(status.notes)]
    return "".join(remarks)
