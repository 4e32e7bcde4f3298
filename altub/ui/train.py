"""The Train tab: choose images and settings, start, and watch a training through its run directory."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

__all__ = ["TrainTab", "build"]


@dataclass(frozen=True)
class TrainTab:
    """What other parts of the page connect to."""

    dark: gr.State


def build(demo: gr.Blocks, *, may_name_folders: bool = True) -> TrainTab:
    """Fills the tab; call it inside `with gr.Tab(...)`."""
    dark = gr.State(False)
    gr.Markdown("Train")
    return TrainTab(dark)
