"""Small pieces of the Label tab as HTML; all text is escaped."""

from __future__ import annotations

from html import escape

from altub.ui.background import BackgroundTask

__all__ = ["DISABLED", "LIST_ORDER_CHOICES", "QUEUE_ORDER_CHOICES", "SHOW_CHOICES", "progress_html"]

SHOW_CHOICES = (
    ("Unlabelled", "unlabelled"),
    ("All", "all"),
    ("Good", "good"),
    ("Defect", "defect"),
    ("Unsure", "unsure"),
    ("Model disagrees", "disagreement"),
    ("People disagree", "disputed"),
)
QUEUE_ORDER_CHOICES = (
    ("Nearest the threshold", "nearest"),
    ("Most anomalous", "anomalous"),
    ("Newest", "newest"),
    ("Diverse", "diverse"),
    ("Random", "random"),
)
LIST_ORDER_CHOICES = (
    ("Newest", "newest"),
    ("Oldest", "oldest"),
    ("Last labelled", "labelled"),
    ("Most anomalous", "anomalous"),
    ("Nearest the threshold", "nearest"),
)
DISABLED = (
    '<div class="empty-state"><h3>Labeling is off</h3><p>All visitors of this Space would see each other\'s images, so '
    "none are kept. Duplicate the Space as a private one, or run AltUB on your own machine, to label images.</p></div>"
)


def progress_html(task: BackgroundTask, *, waits: bool = False) -> str:
    """How the scoring goes; empty where there is nothing to tell."""
    if task.state == "failed":
        return f'<p class="label-note problem">{escape(task.text)}</p>'
    if task.is_running or waits:
        share = 100 * (task.fraction or 0)
        return (
            f'<div class="label-note" role="status"><p>Scoring {escape(task.text)}</p>'
            f'<span class="label-bar"><i style="width:{share:.0f}%"></i></span></div>'
        )
    return ""
