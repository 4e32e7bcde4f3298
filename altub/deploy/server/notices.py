"""Notices for the visitors of a Space: what is kept, what others see, what is allowed."""

from __future__ import annotations

from html import escape

from altub import settings

__all__ = ["UPLOADS_OFF", "notice_html", "space_notices"]

UPLOADS_OFF = (
    "All visitors see all trainings of this Space, so it does not train on uploaded images. Inspect your "
    "images in the Inspect tab, where only you see them, or duplicate the Space as a private one to train on them."
)


def space_notices() -> list[str]:
    """One or two sentences a subject; storage first."""
    if settings.space_volume() is not None:
        storage = "Trainings are kept on this Space's persistent storage."
    else:
        storage = (
            "This Space has no persistent storage: trainings and their models are lost when it restarts. Push a model "
            "to the Hub to keep it."
        )
    seen = "All visitors see all trainings; a training can be stopped only from the browser that started it. "
    if settings.uploads_are_shared():
        seen += "All visitors see image sets uploaded for training; only you see images that you inspect."
    else:
        seen += "Only you see images that you inspect."
    limits = [f"files up to {settings.max_upload()}", f"{settings.max_pixels() / 1e6:.3g} megapixels"]
    if settings.max_minutes():
        limits.append(f"trainings of {settings.max_minutes()} minutes")
    if settings.max_epochs():
        limits.append(f"{settings.max_epochs()} epochs")
    if settings.max_queue() is not None:
        limits.append(f"{settings.max_queue()} trainings in the queue")
    notices = [storage, seen, f"Limits: {', '.join(limits)}."]
    if settings.zero_gpu():
        notices.append(
            "The GPU is shared through ZeroGPU: trainings run in slices of a minute or two and wait in between."
        )
    return notices


def notice_html() -> str:
    """`space_notices` as HTML for the page."""
    lines = "".join(f"<p>{escape(notice)}</p>" for notice in space_notices())
    return f'<div class="note" id="space-notice">{lines}</div>'
