"""Zooming into the epochs of charts: dragged over a chart, or typed; every chart of a view shows the same epochs.

The server draws the charts, so that it is told of the range; a chart that is redrawn while it is dragged over loses
nothing, as the mark lies above the page.
"""

from __future__ import annotations

import re
from typing import Any

from altub.errors import ConfigError

__all__ = ["ZOOM_JS", "Range", "dragged_range", "parse_range", "range_text"]

Range = tuple[int, int]  # first and last epoch

#: For the `js_on_load` of a `gr.HTML` with charts: triggers `select` with the dragged range and, on a double click,
#: `clear`.
ZOOM_JS = """
let drag = null;
const end = (event, done) => {
  if (!drag) return;
  const {frame, left, right, from, mark} = drag;
  drag = null;
  mark.remove();
  const share = (x) => Math.min(Math.max((x - frame.left) / frame.width, 0), 1);
  const [a, b] = [share(from), share(event.clientX)].sort((p, q) => p - q);
  if (done && Math.abs(event.clientX - from) > 8)
    trigger('select', {left: left + a * (right - left), right: left + b * (right - left)});
};
element.addEventListener('pointerdown', (event) => {
  const panel = event.target.closest('.panel[data-left]');
  if (!panel || event.button) return;
  const mark = document.createElement('div');
  mark.className = 'zoom-mark';
  const frame = panel.getBoundingClientRect();
  Object.assign(mark.style, {top: `${frame.top}px`, height: `${frame.height}px`});
  document.body.append(mark);
  drag = {frame, left: Number(panel.dataset.left), right: Number(panel.dataset.right), from: event.clientX, mark};
  event.preventDefault();
});
addEventListener('pointermove', (event) => {
  if (!drag) return;
  const {frame, from, mark} = drag;
  const to = Math.min(Math.max(event.clientX, frame.left), frame.right);
  Object.assign(mark.style, {left: `${Math.min(from, to)}px`, width: `${Math.abs(to - from)}px`});
});
addEventListener('pointerup', (event) => end(event, true));
addEventListener('pointercancel', (event) => end(event, false));
element.addEventListener('dblclick', (event) => { if (event.target.closest('.panel[data-left]')) trigger('clear'); });
"""


def dragged_range(data: Any) -> Range | None:
    """The epochs inside a dragged range, two at least; None where it holds none.

    Args:
        data: what the page says: "left" and "right", in epochs.
    """
    try:
        left, right = float(data["left"]), float(data["right"])
    except (KeyError, TypeError, ValueError):
        return None
    if not -1e9 < left <= right < 1e9:  # not a number neither
        return None
    first, last = max(-(-left // 1), 0), right // 1
    return (int(first), int(last)) if last > first else None


def parse_range(text: str | None) -> Range | None:
    """What was typed; None means all epochs.

    Example:
        >>> parse_range("10-40"), parse_range("all")
        ((10, 40), None)

    Raises:
        ConfigError: it is no range.
    """
    words = (text or "").strip().lower()
    if words in ("", "all"):
        return None
    found = re.fullmatch(r"(\d{1,6})\s*(?:-|–|to)\s*(\d{1,6})", words)
    if found is None or int(found[1]) >= int(found[2]):
        raise ConfigError("That is no range of epochs: enter the first and the last one, such as 10-40, or all.")
    return int(found[1]), int(found[2])


def range_text(chosen: Range | None) -> str:
    """As it is typed; empty for all epochs."""
    return f"{chosen[0]}-{chosen[1]}" if chosen else ""
