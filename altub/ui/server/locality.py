"""Whose requests are those of the owner, at the machine that the page runs on.

A page without a login for this machine alone trusts whoever reaches it. A reverse proxy or a tunnel on the same machine
makes strangers reach it from loopback; what gives it away are its headers and, on Linux, the user that it runs as. Such
makes strangers reach it from loopback; what gives it away are its headers and, on Linux, the user that it runs as. Such

What remains: a proxy that the owner (or root) runs, that rewrites Host, speaks HTTP/1.1 and adds no header.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from altub.ui.security import is_loopback
from altub.ui.server.peers import can_tell_users, is_owner, user_of_peer

__all__ = ["LocalGate", "is_local_request"]

FORWARDED = ("forwarded", "via", "x-real-ip", "x-client-ip", "x-original-host", "true-client-ip", "cf-connecting-ip")
FORWARDED_PREFIX = "x-forwarded"

TO_SERVE_OTHERS = (
    "To serve others, start it with --auth-file and name its public host in ALTUB_ALLOWED_HOSTS, or with --no-auth."
)
FORWARDED_TO_IT = "This page was started for its own machine alone, and this request was forwarded to it."
ANOTHER_USER = (
    "This page was started for one user of its machine alone, and this request comes from another user's program, "
    "which may be a proxy."
)


class LocalGate:
    """ASGI middleware of a page for this machine alone: answers 403 to what others may have sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            refusal = self.why_refused(scope)
            if refusal is not None:
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008, "reason": "Not from this machine"})
                else:
                    text = f"{refusal} {TO_SERVE_OTHERS}"
                    await PlainTextResponse(text, status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    @staticmethod
    def why_refused(scope: Scope) -> str | None:
        """Why a request is not the owner's, in a sentence; None where it is, as far as this machine can tell."""
        client, server = scope.get("client"), scope.get("server")
        names = Headers(scope=scope).keys()
        if not is_local_request(client[0] if client else None, names, scope.get("http_version", "1.1")):
            return FORWARDED_TO_IT
        if can_tell_users() and not (server and server[1] and is_owner(user_of_peer(client, server))):
            return ANOTHER_USER
        return None


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
