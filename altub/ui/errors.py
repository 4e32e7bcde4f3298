"""Errors of handlers as notices on the page."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from altub import settings
from altub.errors import AltUBError
from altub.files import PACKAGE

__all__ = ["notice", "show_errors", "without_folders"]


def notice(text: object) -> str:
    """Text for a notice, which Gradio shows as HTML: names of files come from strangers."""
    return escape(without_folders(text), quote=False)


def without_folders(text: object) -> str:
    """The text with folders of the server named by what they are: who reaches the page need not know where they lie."""
    shown = str(text)
    roots = [
        (settings.gradio_temp_dir(), "temporary files"),
        (settings.runs_root(), "runs"),
        (settings.data_root(), "data"),
        (settings.weights_root(), "weights"),
        (PACKAGE.parent, "AltUB"),
        (Path.home(), "~"),
    ]
    for root, name in roots:
        if root is not None and len(root.parts) > 1:
            shown = re.sub(rf"{re.escape(str(root))}(?![\w.-])", name, shown)
    return shown


def show_errors(title: str, *, duration: float | None = 10) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a handler: an error that a user can correct becomes a notice with this title; others stay bugs.

    Args:
        title: what failed, such as "Training not started".
        duration: seconds that the notice stays; None: until it is closed.
    """

    def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                return handler(*args, **kwargs)
            except AltUBError as error:
                raise gr.Error(notice(error), title=title, duration=duration, print_exception=False) from error

        return wrapped

    return decorate
