"""Imports torch and what else the first click needs, in a thread, when the first page has been delivered.

The page is built without them, so that it answers seconds earlier. While a browser lays the page out it asks for
nothing, and the server has the time. A request that needs them before imports them itself, or waits for the thread.
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
QUIET_SECONDS = 0.4  # without a new request: the browser has all scripts, and lays out the page
LONGEST_SECONDS = 5.0  # after the page was delivered; then whatever is asked for


class Preloading:
    """ASGI middleware that begins with it when the first page was delivered and no request came for a moment.

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
        self._delivered: float | None = None  # when the first page was

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.thread is not None or scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._latest = time.monotonic()
        await self.app(scope, receive, send)
        if self._delivered is None and scope["method"] == "GET" and scope["path"] == "/":
            self._delivered = time.monotonic()
            self._look()

    def _look(self) -> None:
        now = time.monotonic()
        waits = min(self._latest + self.quiet, self._delivered + self.longest) - now
        if waits > 0:
            asyncio.get_running_loop().call_later(waits, self._look)
            return
        # No daemon: a process that ends in the middle of loading a library may crash.
        self.thread = threading.Thread(target=preload, args=(self.modules,), name="preloading")
        self.thread.start()


def preload(modules: Sequence[str] = PRELOADED) -> None:
    """Imports them now; what is missing is left out."""
    for name in modules:
        with suppress(ImportError):  # the first request that needs it will say so
            import_module(name)
