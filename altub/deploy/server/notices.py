"""What visitors of a Space are told, in sentences: what is kept, what others see, what is allowed."""

from __future__ import annotations

from html import escape

from altub import settings

__all__ = ["UPLOADS_OFF", "notice_html", "space_notices"]

UPLOADS_OFF = (
    "Trainings on this Space are seen by everybody, so it does not train on images that visitors upload. Inspect your "
    "images in the Inspect tab, where only you see them, or duplicate the Space as a private one to train on them."
)


def space_notices() -> list[str]:
    """One sentence or two for every thing that a visitor should know; the one about storage first."""
    if settings.space_volume() is not None:
        storage = "Trainings are kept on this Space's persistent storage."
    else:
        storage = (
            "This Space has no persistent storage: trainings and their models are lost when it restarts. Push a model "
            "to the Hub to keep it."
        )
    seen = "Everybody sees every training; a training can be stopped only from the browser that began it. "
    if settings.uploads_are_shared():
        seen += "Image sets that are uploaded to train on are seen by everybody, images to inspect only by you."
    else:
        seen += "Images that you inspect are seen only by you."
    limits = [f"files up to {settings.max_upload()}", f"{settings.max_pixels() / 1e6:.3g} megapixels"]
    if settings.max_minutes():
        limits.append(f"trainings of {settings.max_minutes()} minutes")
    if settings.max_epochs():
        limits.append(f"{settings.max_epochs()} epochs")
    if settings.max_queue() is not None:
        limits.append(f"{settings.max_queue()} trainings in the queue")
    notices = [storage, seen, f"Limits: {', '.join(limits)}."]
    if settings.zero_gpu():
        notices.append("The GPU is lent by ZeroGPU: trainings go on in turns of a minute or two and wait in between.")
    return notices


def notice_html() -> str:
    """The same for the page."""
    lines = "".join(f"<p>{escape(notice)}</p>" for notice in space_notices())
    return f'<div class="note" id="space-notice">{lines}</div>'
