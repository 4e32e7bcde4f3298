"""The bar at the bottom of the Train tab, in sight at every size: Start, and how the shown training is going.

Its components are made before the columns above it, which are connected to them, and placed after these.
"""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

__all__ = ["Bar", "make_bar"]


@dataclass(frozen=True)
class Bar:
    """start, and check beside it: what is wrong, or what the training takes. now: the shown run in one line."""

    start: gr.Button
    check: gr.HTML
    now: gr.HTML
    stop: gr.Button
    resume: gr.Button
    inspect: gr.Button

    def place(self) -> None:
        """Puts the components into the layout."""
        with gr.Row(elem_id="train-bar"):
            with gr.Row(elem_id="bar-start"):
                self.start.render()
                self.check.render()
            with gr.Row(elem_id="bar-run"):
                self.now.render()
                self.stop.render()
                self.resume.render()
                self.inspect.render()


def make_bar() -> Bar:
    """The components, not placed yet."""

    def button(text: str, elem_id: str, width: int, *, visible: bool = False, primary: bool = False) -> gr.Button:
        return gr.Button(
            text,
            variant="primary" if primary else "secondary",
            size="md",
            scale=0,
            min_width=width,
            visible=visible,
            elem_id=elem_id,
            render=False,
        )

    return Bar(
        start=button("Start training", "train-start", 170, visible=True, primary=True),
        check=gr.HTML(elem_id="train-check", render=False),
        now=gr.HTML(elem_id="run-now", render=False),
        stop=button("Stop", "run-stop", 90),
        resume=button("Resume", "run-resume", 90),
        inspect=button("Inspect with this model", "run-inspect", 200),
    )
