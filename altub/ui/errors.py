"""Errors of handlers as notices on the page."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from altub import settings
from altub.errors import AltUBError
from altub.files import PACKAGE

__all__ = ["notice", "show_errors", "without_folders"]


def notice(text: object, at: str | None = None) -> str:
    """Text for a notice, which Gradio shows as HTML: names of files come from strangers.

    Args:
        at: elem_id of the field that it is shown at, in the place of a notice (`assets/forms.js`).
    """
    shown = escape(without_folders(text), quote=False)
    return shown if at is None else f'<span class="at-field at-field-{at}">{shown}</span>'


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


def show_errors(
    title: str, *, duration: float | None = 10, fields: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a handler: an error that a user can correct becomes a notice with this title; others stay bugs.

    Args:
        title: what failed, such as "Training not started".
        duration: seconds that the notice stays; None: until it is closed.
        fields: `AltUBError.field` -> elem_id of the component that is marked.
    """
    known = fields or {}

    def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                return handler(*args, **kwargs)
            except AltUBError as error:
                raise gr.Error(
                    notice(error, known.get(error.field)), title=title, duration=duration, print_exception=False
                ) from error

        return wrapped

    return decorate
