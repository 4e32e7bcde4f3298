"""The Inspect tab: pictures in, heatmaps, verdicts and exports out."""

from __future__ import annotations

import gradio as gr

__all__ = ["build"]


def build(demo: gr.Blocks, tab: gr.Tab | None = None) -> None:
    """Fills the tab; call it inside `with gr.Tab("Inspect", id="inspect") as tab:`.

    Args:
        demo: the page, for its load event.
        tab: the tab, so that the list of runs is fresh whenever it is opened.
    """
    gr.Markdown("Inspect")
