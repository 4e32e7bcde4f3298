"""The table of all runs: what is known of each, filtered and as HTML."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from altub.inference.model_files import CONFIG_FILE
from altub.metrics import METRICS
from altub.runs.notes import disk_use
from altub.ui.offers import Offer, list_offers
from altub.ui.watch import RunView, RunWatch

__all__ = ["CHOOSE_JS", "RunRow", "RunRows", "matches", "runs_table", "size_text"]

MEASURED = 120.0  # seconds that the size of an ended run is believed
SHOWN = ("pixel_auroc", "image_auroc")  # the first that was measured

#: For the `js_on_load` of the table: triggers `select` with the run whose name was pressed.
CHOOSE_JS = """element.addEventListener('click', (event) => {
  const row = event.target.closest('tr[data-run]');
  if (row) trigger('select', {run: row.dataset.run});
});"""


@dataclass(frozen=True)
class RunRow:
    """One run of the table. size: bytes. has_model: can it be used in Inspect?"""

    view: RunView
    size: int
    offer: Offer | None

    @property
    def has_model(self) -> bool:
        return (self.view.run.model_dir / CONFIG_FILE).is_file()

    @property
    def text(self) -> str:
        """What a search looks through."""
        notes, config = self.view.notes, self.view.config
        pinned = "in production" if notes.pinned else ""
        parts = (notes.name, config.category, self.view.id, self.view.state, *notes.tags, notes.notes, pinned)
        return " ".join((*parts, config.backbone, config.flow.kind)).lower()


class RunRows:
    """The rows of all runs; sizes are measured again only now and then. Safe to use from several threads."""

    def __init__(self, watch: RunWatch) -> None:
        self.watch = watch
        self._sizes: dict[str, tuple[float, object, int]] = {}
        self._lock = threading.Lock()

    def rows(self, archived: bool = False) -> list[RunRow]:
        """Those in production first, then the newest first."""
        offers = {offer.id: offer for offer in list_offers(self.watch.root)}
        rows = [RunRow(view, self._size(view), offers.get(view.id)) for view in self.watch.views(archived)]
        return sorted(rows, key=lambda row: not row.view.notes.pinned)

    def _size(self, view: RunView) -> int:
        mark = (view.state, view.status.updated)
        with self._lock:
            known = self._sizes.get(view.id)
        if known and known[1] == mark and time.monotonic() - known[0] < MEASURED:
            return known[2]
        size = disk_use(view.run)
        with self._lock:
            self._sizes[view.id] = (time.monotonic(), mark, size)
        return size


def matches(row: RunRow, search: str) -> bool:
    """Does the row have every word of the search?"""
    return all(word in row.text for word in search.lower().split())


def size_text(size: int) -> str:
    """Bytes for people.

    Example:
        >>> size_text(1_530_000), size_text(2_000_000_000)
        ('1.5 MB', '2.0 GB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def runs_table(rows: Sequence[RunRow], chosen: str | None, in_all: int) -> str:
    """The rows as a table; the name of each is a button.

    Args:
        chosen: id of the run that is shown below.
        in_all: runs that there are, before the search.
    """
    if not in_all:
        return '<p class="hub-note">No runs yet: train one in the Train tab, or pull one.</p>'
    if not rows:
        return '<p class="hub-note">No run has all of these words.</p>'
    heads = ("Run", "State", "Epochs", "Result", "Started", "Size", "Tags")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(_row(row, row.view.id == chosen) for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Runs"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(row: RunRow, is_chosen: bool) -> str:
    view = row.view
    notes, run_id = view.notes, escape(view.id)
    marks = '<span class="mark">in production</span>' if notes.pinned else ""
    marks += '<span class="mark">archived</span>' if notes.archived else ""
    below = f"{view.config.category} · {view.id}" if notes.name else view.id
    tags = "".join(f'<span class="mark">{escape(tag)}</span>' for tag in notes.tags)
    when = time.strftime("%d %b %Y %H:%M", time.localtime(view.status.created))
    epochs = f"{view.status.epoch} of {view.status.epochs or view.config.epochs}"
    cells = (view.state, epochs, _result(row.offer), when, size_text(row.size))
    return (
        f'<tr data-run="{run_id}"{" class=chosen" if is_chosen else ""}><th scope="row"><button type="button" '
        f'aria-pressed="{str(is_chosen).lower()}">{escape(view.title)}</button>{marks}<small>{escape(below)}</small>'
        f"</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}<td>{tags}</td></tr>"
    )


def _result(offer: Offer | None) -> str:
    for name in SHOWN:
        if offer is not None and (value := offer.metrics.value(name)) is not None:
            return f"{METRICS[name].label} {value:.3f}"
    return ""
