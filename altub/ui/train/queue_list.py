"""The trainings that wait, in their order: shown, moved, taken out."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from altub.ui.watch import RunView

__all__ = ["QUEUE_JS", "queue_list"]

#: For the `js_on_load` of the list: triggers `select` with the run of the button that was pressed and what it does.
QUEUE_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-run]');
  if (button) trigger('select', {run: button.dataset.run, action: button.dataset.action});
});"""


def queue_list(views: Sequence[RunView], mine: Sequence[bool]) -> str:
    """The waiting runs, the next one first; empty where none waits.

    Args:
        mine: may this visitor move and cancel the run?
    """
    if not views:
        return ""
    rows = "".join(_row(k, view, mine[k], len(views)) for k, view in enumerate(views))
    return f'<div class="queue"><h4>Queue</h4><ol>{rows}</ol></div>'


def _row(place: int, view: RunView, is_mine: bool, count: int) -> str:
    config, name = view.config, escape(view.title)
    about = f"{config.image_size} px, {config.epochs} epoch{'s' if config.epochs != 1 else ''}"

    def button(action: str, text: str, label: str, disabled: bool = False) -> str:
        return (
            f'<button type="button" data-run="{escape(view.id)}" data-action="{action}" aria-label="{label} {name}" '
            f'title="{label}"{" disabled" if disabled else ""}>{text}</button>'
        )

    buttons = button("show", "Show", "Show")
    if is_mine:
        buttons += button("up", "↑", "Move up", place == 0)
        buttons += button("down", "↓", "Move down", place == count - 1)
        buttons += button("cancel", "Cancel", "Cancel")
    return f"<li><span><b>{name}</b> {about}</span><span>{buttons}</span></li>"
