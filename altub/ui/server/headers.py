"""What a browser is told about the page: who may frame it, which scripts may run, what may be loaded from where.

Gradio has inline scripts in its HTML and builds functions from text for events of the page, so that `unsafe-eval` has
to be allowed. Inline scripts are allowed one by one, by their hashes, and handlers in attributes (`onerror=...`) never:
text that gets into the page as HTML runs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SecurityHeaders", "inline_scripts", "policy"]

_SCRIPT = re.compile(rb"<script\b([^>]*)>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)
_FIXED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
}
# Files of visitors and answers to programs: nothing in them is a page.
_NO_PAGE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"
_DATA_PATHS = "/gradio_api/"


class SecurityHeaders:
    """ASGI middleware that adds the headers to every answer.

    Args:
        app: the application behind it.
        scripts: inline scripts that the page inserts itself.
        embedded_by: site that frames the page and that it may talk to, such as "https://huggingface.co"; None: no site.
    """

    def __init__(self, app: ASGIApp, scripts: Iterable[bytes] = (), embedded_by: str | None = None) -> None:
        self.app, self.scripts, self.embedded_by = app, tuple(scripts), embedded_by

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held: Message | None = None  # the start of an HTML page: its headers depend on its scripts
        body = b""

        async def add(message: Message) -> None:
            nonlocal held, body
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _FIXED.items():
                    headers[name] = value
                if self.embedded_by is None:
                    headers["X-Frame-Options"] = "DENY"
                if headers.get("content-type", "").startswith("text/html"):
                    held = message
                    return
                if scope["path"].startswith(_DATA_PATHS):
                    headers["Content-Security-Policy"] = _NO_PAGE
            elif held is not None:
                body += message.get("body", b"")
                if message.get("more_body", False):
                    return
                scripts = [*self.scripts, *inline_scripts(body)]
                MutableHeaders(scope=held)["Content-Security-Policy"] = policy(scripts, self.embedded_by)
                await send(held)
                held, message = None, {**message, "body": body}
            await send(message)

        await self.app(scope, receive, add)


def policy(scripts: Iterable[bytes], embedded_by: str | None = None) -> str:
    """The Content-Security-Policy of a page with these inline scripts."""
    hashes = dict.fromkeys(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in scripts)
    site = f" {embedded_by}" if embedded_by else ""
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' 'unsafe-eval' {' '.join(hashes)}".rstrip(),
            "script-src-attr 'none'",
            "style-src 'self' 'unsafe-inline'",
            f"img-src 'self' data: blob:{site}",
            "font-src 'self' data:",
            "media-src 'self' blob:",
            "worker-src 'self' blob:",
            f"connect-src 'self' data: blob:{site}",
            "object-src 'none'",
            "frame-src 'none'",
            "base-uri 'self'",
            f"form-action 'self'{site}",
            f"frame-ancestors {embedded_by or chr(39) + 'none' + chr(39)}",
        )
    )


def inline_scripts(html: bytes) -> list[bytes]:
    """The texts of the scripts in a page, without those that are loaded."""
    found = _SCRIPT.finditer(html)
    return [match[2] for match in found if not re.search(rb"\bsrc\s*=", match[1], re.IGNORECASE)]
