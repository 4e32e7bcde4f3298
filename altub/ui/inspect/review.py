"""The batch as a list beside the picture: thumbnails, verdicts and scores, with filter, sort and search.

Sorting, filtering and stepping happen in the browser (`assets/inspect-review.js`), so that they take no round trip; the
server is told which image to show, by its number.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from altub.inference.batch import Inspected, Unreadable
from altub.inference.threshold import Threshold
from altub.ui.html.verdicts import VERDICTS
from altub.ui.inspect.batch import PageBatch
from altub.ui.theme import ASSETS

__all__ = ["review_list", "review_value"]

_COLUMNS = (("name", "Image"), ("kind", "Verdict"), ("score", "Score"), ("area", "Marked"))
_HEADS = "".join(
    f'<th scope="col"><button type="button" data-sort="{key}">{word}</button></th>' for key, word in _COLUMNS
)
_TEMPLATE = (
    '<div class="review"><div class="filters" role="group" aria-label="Filter by verdict" data-part="filters"></div>'
    '<div class="find"><input type="search" placeholder="Search" aria-label="Search images" data-part="search">'
    '<output class="place" aria-label="Place in the list" data-part="place"></output></div>'
    f'<div class="list" data-part="list"><table><thead><tr>{_HEADS}</tr></thead>'
    '<tbody data-part="rows"></tbody></table><p class="none" data-part="none" hidden>No image matches.</p></div></div>'
)


def review_list(**options: Any) -> gr.HTML:
    """The component. Its value is a `review_value`; its event `pick` carries the number of the image to show."""
    script = (ASSETS / "inspect-review.js").read_text(encoding="utf-8")
    return gr.HTML(html_template=_TEMPLATE, js_on_load=script, apply_default_css=False, **options)


def review_value(batch: PageBatch, threshold: Threshold, shown: int) -> dict[str, Any]:
    """What the list shows: the rows in the order of arrival, and the number of the image in the middle (0: none)."""
    return {"batch": batch.folder.name, "shown": shown, "rows": [_row(batch, item, threshold) for item in batch.items]}


def _row(batch: PageBatch, item: Inspected | Unreadable, threshold: Threshold) -> dict[str, Any]:
    row: dict[str, Any] = {"number": item.number, "name": item.source.name}
    if isinstance(item, Unreadable):
        kind, word = ("pending", "Pending") if item.is_pending else ("unreadable", "Unreadable")
        nothing = dict.fromkeys(("score", "area", "thumb"))
        return row | {"kind": kind, "chip": "plain", "word": word, "error": item.error} | nothing
    verdict = batch.verdict(item, threshold)
    chip, word = VERDICTS[verdict.kind]
    return row | {
        "kind": verdict.kind,
        "chip": chip,
        "word": word,
        "error": "; ".join(verdict.reasons),
        "score": round(batch.calibration.anomaly_score(item.score), 4),
        "area": round(100 * verdict.marked_area, 3),
        "thumb": f"gradio_api/file={batch.thumbnail_file(item)}",
    }
