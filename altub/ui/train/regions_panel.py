"""Where regions are drawn over a good image of the chosen category; the setting `regions` holds them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from altub.data import read_thumbnail
from altub.errors import AltUBError, DataError
from altub.ui.errors import show_errors
from altub.ui.html.pictures import data_uri
from altub.ui.theme import ASSETS
from altub.ui.train.data_source import find_category

__all__ = ["NOTHING", "REGIONS_INFO", "RegionPicture", "region_canvas", "region_field"]

SIDE = 900  # longest side, in pixels, of the picture that is drawn on
NOTHING = {"image": ""}
REGIONS_INFO = "A list of polygons, as docs/data.md explains it; empty: the whole image."

_ABOUT = (
    "Where the model looks: only in the regions to inspect, if there are any, and never in those to ignore. Drag a "
    "box, or click a polygon's corners and the first one again."
)


def _button(name: str, value: str, word: str) -> str:
    return f'<button type="button" data-{name}="{value}" aria-pressed="false">{word}</button>'


_TEMPLATE = (
    '<div class="regions" hidden><p class="hint">' + _ABOUT + '</p><div class="tools">'
    f'<span role="group" aria-label="Kind">{_button("kind", "ignore", "Ignore")}'
    f"{_button('kind', 'inspect', 'Inspect')}</span>"
    f'<span role="group" aria-label="Shape">{_button("shape", "box", "Box")}'
    f"{_button('shape', 'polygon', 'Polygon')}</span>"
    '<button type="button" data-clear="">Clear</button></div>'
    '<div class="frame"><img data-part="image" alt="A good image of this category" draggable="false">'
    '<svg data-part="drawing" viewBox="0 0 1000 1000" preserveAspectRatio="none" tabindex="0" role="application" '
    'aria-label="Regions: drag a box, or click the corners of a polygon"></svg></div>'
    '<ol data-part="list"></ol></div>'
)


def region_canvas(**options: Any) -> gr.HTML:
    """The component. Its value: {"image": address of the picture}, empty: nothing is shown."""
    script = (ASSETS / "regions.js").read_text(encoding="utf-8")
    return gr.HTML(NOTHING, html_template=_TEMPLATE, js_on_load=script, apply_default_css=False, **options)


def region_field() -> gr.Textbox:
    """The regions as text: the setting's field, which the canvas reads and writes."""
    return gr.Textbox("", label="Regions as text", info=REGIONS_INFO, max_lines=3, elem_id="train-regions")


class RegionPicture:
    """Answers with the picture to draw on. is_local: may folders of this machine be named?"""

    def __init__(self, *, is_local: bool) -> None:
        self.is_local = is_local

    @show_errors("Image not available")
    def look(self, source: str, category: str | None, folder: str | None) -> dict[str, str]:
        """A good image of the category."""
        good = find_category(source, category, folder or "", self.is_local).load().train
        for sample in good[:3]:
            try:
                return {"image": data_uri(read_thumbnail(sample.source, SIDE))}
            except AltUBError:  # this one is damaged: another will do
                continue
        raise DataError("No good image of this category can be read: check the images.")
