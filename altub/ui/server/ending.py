"""The end of the server: on SIGTERM or Ctrl+C, running requests finish first; new ones are answered with 503.

Trainings are processes of their own and go on. A second signal ends the server at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["DRAIN_SECONDS", "Drain", "Draining", "Ending"]

DRAIN_SECONDS = 30.0
QUIET_SECONDS = 1.0  # without a request, after which nothing follows any more: results are fetched by requests too
FORCED = 128  # plus the signal: exit code of a server that was ended at once
CUT_OFF = 1  # exit code of a server that cut requests off

# What continues a request that was accepted before: its progress and its files.
CONTINUED = ("/gradio_api/queue/data", "/gradio_api/call/", "/gradio_api/file=", "/gradio_api/upload_progress")
ENDLESS = "/gradio_api/heartbeat/"  # lasts as long as a page is open


class Drain:
    """Counts the requests under way; safe to use from several threads and from a signal handler."""

    def __init__(self) -> None:
        self.begun = False
        self.running = 0

    def begin(self) -> None:
        """From now on, new requests are refused."""
        self.begun = True

    def wait(self, seconds: float, quiet: float = QUIET_SECONDS) -> bool:
        """Blocks until no request has run for a while; False: some still run after that many seconds."""
        end = time.monotonic() + seconds
        idle_since = time.monotonic()
        while time.monotonic() < end:
            if self.running:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= quiet:
                return True
            time.sleep(0.05)
        return not self.running


class Draining:
    """ASGI middleware that counts requests for a `Drain` and refuses new ones once it has begun."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self.app, self.drain = app, drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(ENDLESS):
            await self.app(scope, receive, send)
            return
        if self.drain.begun and not (scope["method"] == "GET" and scope["path"].startswith(CONTINUED)):
            text = "The server is about to end and takes no new requests: try again when it runs again."
            await PlainTextResponse(text, status_code=503, headers={"Retry-After": "30"})(scope, receive, send)
            return
        self.drain.running += 1  # only the event loop's thread changes it
        try:
            await self.app(scope, receive, send)
        finally:
            self.drain.running -= 1


class Ending:
    """Handles SIGTERM and SIGINT while the server runs; a context manager.

    Args:
        drain: of the server.
        cleanup: called before the process ends at once.
        seconds: running requests may take to finish.
    """

    def __init__(self, drain: Drain, cleanup: Callable[[], None], seconds: float = DRAIN_SECONDS) -> None:
        self.drain, self.cleanup, self.seconds = drain, cleanup, seconds
        self.serving, self.told = False, 0
        self._former: dict[int, object] = {}

    def __enter__(self) -> Ending:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in (signal.SIGTERM, signal.SIGINT):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def serve(self, is_running: Callable[[], bool] = lambda: True) -> int:
        """Blocks until the server ends or a signal came and its requests have finished; the exit code."""
        self.serving = True
        while not self.told and is_running():
            time.sleep(0.1)
        if not self.told or self.drain.wait(self.seconds):
            return 0
        print(f"Ended after {self.seconds:g} s with {self.drain.running} requests unfinished.", file=sys.stderr)
        return CUT_OFF

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self.serving:
            raise SystemExit(FORCED + number)
        if self.told:
            self.end_at_once(FORCED + number)
        self.told = number
        self.drain.begin()
        os.write(2, b"Ending: running requests finish first. Trainings go on. A second signal ends at once.\n")

    def end_at_once(self, code: int) -> None:
        """Ends the process, whatever its threads do."""
        self.cleanup()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
