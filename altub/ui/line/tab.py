"""The Line tab: is the line still what the model knows, and what to do if it is not."""

from __future__ import annotations

import gradio as gr

from altub.settings import uploads_are_shared
from altub.ui.launch import ServerOptions
from altub.ui.line.adapt_card import build_adapt
from altub.ui.line.camera_card import build_camera
from altub.ui.line.drift_card import build_drift
from altub.ui.line.drift_views import OFF
from altub.ui.line.folder_card import build_folders
from altub.ui.services import Services

__all__ = ["build"]


def build(demo: gr.Blocks, services: Services, tab: gr.Tab, options: ServerOptions) -> None:
    """Fills the tab; call it inside `with gr.Tab("Line") as tab:`."""
    with gr.Column(elem_id="line"):
        if not uploads_are_shared():
            gr.HTML(OFF)
            return
        may_change = not options.space
        drift = build_drift(demo, tab, services, may_change=may_change, is_local=options.is_local)
        with gr.Row(elem_id="line-work", equal_height=False):
            build_adapt(services, drift, may_change=may_change, is_local=options.is_local)
            build_folders(demo, tab, services, drift, is_local=options.is_local)
        build_camera(services, drift)
