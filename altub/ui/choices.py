"""A list whose choices change while the page is open."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta

__all__ = ["Choices"]


def _preprocess(self: gr.Dropdown, payload: Any) -> Any:
    return payload


def _block_name(self: gr.Dropdown) -> str:
    return "dropdown"  # what it is in the browser


#: A `gr.Dropdown` that hands any value on to its handlers, which look it up. After a change of its choices, or a
#: restart of the server, a page may still send a former one. Gradio would refuse it in its own words and with a
#: traceback in the log, before any handler could say what to do. Made without `ComponentMeta.__new__`, which writes a
#: .pyi file beside the module of every subclass.
Choices: type[gr.Dropdown] = ABCMeta.__new__(
    ComponentMeta,
    "Choices",
    (gr.Dropdown,),
    {"__module__": __name__, "preprocess": _preprocess, "get_block_name": _block_name},
)
