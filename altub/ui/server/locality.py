"""Whose requests are those of the owner, at the machine that the page runs on.

A page without a login for this machine alone trusts whoever reaches it. A reverse proxy or a tunnel on the same machine
makes strangers reach it from loopback; what gives it away are its headers. Such a request is turned away before any
handler sees it, since a handler can be called by its number whatever the page shows.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from altub.ui.security import is_loopback

__all__ = ["LocalGate", "is_local_request"]

FORWARDED = ("forwarded", "via", "x-real-ip", "x-client-ip", "x-original-host", "true-client-ip", "cf-connecting-ip")
FORWARDED_PREFIX = "x-forwarded"

REFUSED = (
    "This page was started for its own machine alone, and this request was forwarded to it. To serve others, start it "
    "with --auth and name its public host in ALTUB_ALLOWED_HOSTS."
)


class LocalGate:
    """ASGI middleware of a page for this machine alone: answers 403 to what others may have sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            peer = scope["client"][0] if scope.get("client") else None
            if not is_local_request(peer, Headers(scope=scope).keys(), scope.get("http_version", "1.1")):
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008, "reason": "Not from this machine"})
                else:
                    await PlainTextResponse(REFUSED, status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def is_local_request(peer: str | None, header_names: Iterable[str], http_version: str = "1.1") -> bool:
    """Did a program of this machine send the request, with nothing in between that says so?

    Args:
        peer: address that the request came from.
        header_names: of its headers.
        http_version: 1.0 is what nginx speaks to the servers behind it, and no browser.
    """
    if peer is None or not is_loopback(peer) or http_version == "1.0":
        return False
    names = {name.lower() for name in header_names}
    return not any(name in FORWARDED or name.startswith(FORWARDED_PREFIX) for name in names)
