"""How work with the Hugging Face Hub is going, as HTML; all text is escaped."""

from __future__ import annotations

from html import escape

from altub.ui.background import BackgroundTask

__all__ = ["problem_html", "running_html", "task_html"]


def task_html(task: BackgroundTask, url: str = "", link: str = "Show the commit") -> str:
    """How a push or a pull is going; `url` is the address of what was made once it is done, `link` its words."""
    if task.state == "idle":
        return ""
    if task.state == "running":
        return running_html(task)
    if task.state == "failed":
        return problem_html(task.text)
    shown = ""
    if url.startswith(("https://", "http://")):
        shown = f' <a href="{escape(url)}" target="_blank" rel="noopener">{escape(link)}</a>'
    return f'<p class="hub-note done">{escape(task.text)}{shown}</p>'


def running_html(task: BackgroundTask) -> str:
    """What is being done."""
    return f'<p class="hub-note">{escape(task.text or "starting")} …</p><div class="hub-bar"><i></i></div>'


def problem_html(text: str) -> str:
    """Why it failed."""
    return f'<p class="hub-note problem">{escape(text)}</p>'
