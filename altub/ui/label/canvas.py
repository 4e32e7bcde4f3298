"""The canvas of the Label tab: a picture with its heatmap and masks, tools, verdicts and keys, in one component.

Gradio's own image editor paints antialiased strokes and knows no keys (its masks are not what was drawn). This one
writes single bits at the image's own size; its scripts are `assets/label-*.js`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from altub.ui.label.canvas_html import canvas_html
from altub.ui.theme import ASSETS

__all__ = ["mask_canvas"]

#: In this order: each uses what the ones before it declare.
SCRIPTS = ("mask", "stage", "tools", "session", "desk", "panel")


def mask_canvas(functions: list[Callable[..., Any]], **options: Any) -> gr.HTML:
    """The component. Its value is what the page shows: {"token", "who", "login", "view"}; see `LabelHandlers.enter`.

    Events: "enter" (with the name of a person), "labelled" (after labels were stored or taken back).

    A function, not a subclass: Gradio writes a file beside the module of every subclass of a component.

    Args:
        functions: of `LabelDesk`, which the canvas calls.
        options: of the component.
    """
    script = "\n".join((ASSETS / f"label-{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    return gr.HTML(
        html_template=canvas_html(), js_on_load=script, server_functions=functions, apply_default_css=False, **options
    )
