"""Errors of handlers as notices on the page."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gradio as gr

from altub.errors import AltUBError

__all__ = ["show_errors"]


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
                raise gr.Error(str(error), title=title, duration=duration, print_exception=False) from error

        return wrapped

    return decorate
