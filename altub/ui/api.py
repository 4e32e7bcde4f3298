"""The public API of the page: what `gradio_client` can call."""

from __future__ import annotations

__all__ = ["build"]


def build() -> None:
    """Adds the public endpoints; call it once inside `with gr.Blocks()`, outside the tabs."""
