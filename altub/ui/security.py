"""Who may talk to the page: Host and Origin are checked before Gradio sees a request.

Gradio looks at neither. Without this, a web site that somebody opens in another tab could reach a page on their own
machine: by a form (the browser sends it, whatever the answer's CORS headers say) or, for an address other than
localhost, by a name that it points there (DNS rebinding).

* **Host** must be a name that this server goes by. An IP address is one as soon as the server listens beyond loopback:
  rebinding needs a name.
* **Origin**, where the browser sends one, must be the page itself, that is, equal to Host, or a listed name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["LOOPBACK", "HostGuard", "is_loopback", "why_refused"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class HostGuard:
    """ASGI middleware that answers 403 to requests from where no visitor of this page comes from.

    Args:
        app: the application behind it.
        hosts: names that the server goes by, in lower case; "*.example.org" stands for all names below it.
        any_address: accept every IP address as a Host (the server listens beyond loopback).
        origins: names of other sites that may use this server from a visitor's browser.
    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str], any_address: bool = False, origins: Iterable[str] = ()
    ) -> None:
        self.app = app
        self.hosts, self.any_address, self.origins = tuple(hosts), any_address, tuple(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            refusal = why_refused(
                headers.getlist("host"), headers.getlist("origin"), self.hosts, self.any_address, self.origins
            )
            if refusal is not None:
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008, "reason": "Host or Origin not allowed"})
                else:
                    await PlainTextResponse(refusal, status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def why_refused(
    host: list[str],
    origin: list[str],
    hosts: Iterable[str],
    any_address: bool = False,
    origins: Iterable[str] = (),
) -> str | None:
    """Why a request with these Host and Origin headers is turned away, in a sentence; None where it may pass."""
    if len(host) != 1 or len(origin) > 1:
        return "A request has exactly one Host and at most one Origin header."
    name = _name(host[0])
    if name is None or not (_listed(name, hosts) or (any_address and _is_address(name))):
        return (
            "This server does not go by the host name in the request. "
            "If it should, add the name to ALTUB_ALLOWED_HOSTS and start it again."
        )
    if not origin:
        return None
    try:
        parts = urlsplit(origin[0])
    except ValueError:
        parts = urlsplit("")
    source = _name(parts.netloc) if parts.scheme in ("http", "https") else None
    same = parts.netloc.lower() == host[0].lower()
    # A listed public name may sit behind a proxy that changes the port or the scheme; loopback never does.
    listed = source is not None and source not in LOOPBACK and _listed(source, hosts)
    if source is None or not (same or listed or _listed(source, origins)):
        return "Requests from other web sites are not accepted."
    return None


def is_loopback(host: str) -> bool:
    """True where only this machine can reach a server that listens on `host`."""
    name = host.strip().strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name(netloc: str) -> str | None:
    """The host name in "name:port", in lower case and without brackets; None where it is none."""
    try:
        parts = urlsplit(f"//{netloc}")
        name, _ = parts.hostname, parts.port  # asking for the port checks it
    except ValueError:
        return None
    return name if name and "@" not in netloc and parts.netloc == netloc else None


def _listed(name: str, hosts: Iterable[str]) -> bool:
    return any(name == host or (host.startswith("*.") and name.endswith(host[1:])) for host in hosts)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
