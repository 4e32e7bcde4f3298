"""Imports torch and what else the first click needs, in a thread, while the first browser lays out the page.

The page is built without them, so that it answers seconds earlier. A browser asks for the page, then for its scripts,
and then for nothing while it lays the page out: there the server has the time. A request that needs them before imports
them itself, or waits for the thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["PRELOADED", "Preloading", "preload"]

#: By name, so that nothing imports them before: what inspects images, checks a training and judges labels.
PRELOADED = (
    "altub.inference.detector",
    "altub.training.features",
    "altub.backbones.sketch",
    "torch.utils.flop_counter",
    "scipy.stats",
)
QUIET_SECONDS = 0.5  # without a new request: the browser has all scripts, and lays out the page
LONGEST_SECONDS = 5.0  # after the first script was asked for; then whatever else is


class Preloading:
    """ASGI middleware that begins with it when a browser has the page and no request came for a moment.

    A program that asks for the page alone, to see whether it is there, begins nothing.

    Args:
        modules: that are imported, in this order.
        quiet, longest: seconds, as above.
    """

    def __init__(
        self,
        app: ASGIApp,
        modules: Sequence[str] = PRELOADED,
        quiet: float = QUIET_SECONDS,
        longest: float = LONGEST_SECONDS,
    ) -> None:
        self.app, self.modules, self.quiet, self.longest = app, tuple(modules), quiet, longest
        self.thread: threading.Thread | None = None
        self._latest = 0.0  # when the latest request came
        self._delivered = self._looks = False  # the page was; what belongs to it was asked for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.thread is not None or scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._latest = time.monotonic()
        is_page = scope["method"] == "GET" and scope["path"] == "/"
        if self._delivered and not is_page and not self._looks:
            self._looks = True
            self._look(self._latest + self.longest)
        await self.app(scope, receive, send)
        self._delivered |= is_page

    def _look(self, end: float) -> None:
        waits = min(self._latest + self.quiet, end) - time.monotonic()
        if waits > 0:
            asyncio.get_running_loop().call_later(waits, self._look, end)
            return
        # No daemon: a process that ends in the middle of loading a library may crash.
        self.thread = threading.Thread(target=preload, args=(self.modules,), name="preloading")
        self.thread.start()


def preload(modules: Sequence[str] = PRELOADED) -> None:
    """Imports them now; what is missing is left out."""
    for name in modules:
        with suppress(ImportError):  # the first request that needs it will say so
            import_module(name)
