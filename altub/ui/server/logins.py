"""The login of the page: kept as a hash, compared in constant time, with a brake on wrong ones."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from altub.errors import ConfigError

__all__ = ["Credentials", "LoginBrake", "Waits"]

SCRYPT = {"n": 1 << 14, "r": 8, "p": 1, "dklen": 32}  # 16 MiB and some 50 ms for each attempt
LOGIN_PATH = "/login"
REMEMBERED = 10_000  # peers


class Credentials:
    """A user and a password, of which only a salted hash is kept.

    Args:
        user, password: neither is empty.
    """

    def __init__(self, user: str, password: str) -> None:
        self._salt = secrets.token_bytes(16)
        self._hash = self._derive(user, password)

    @classmethod
    def parse(cls, text: str) -> Credentials:
        """From "user:password"; the password may have colons.

        Raises:
            ConfigError: it is something else; the text is not repeated.
        """
        user, colon, password = text.partition(":")
        if not colon or not user or not password:
            raise ConfigError("The login must be user:password, both not empty (--auth, --auth-file or ALTUB_AUTH).")
        return cls(user.strip(), password)  # Gradio strips the name that is typed

    def check(self, user: str, password: str) -> bool:
        """Is this the user with this password? Takes the same time whatever is wrong."""
        return hmac.compare_digest(self._hash, self._derive(user, password))

    def __repr__(self) -> str:
        return "Credentials(...)"

    def _derive(self, user: str, password: str) -> bytes:
        # The length keeps ("a", "b:c") and ("a:b", "c") apart; the first hash, "b" and "b\\0", one key to scrypt.
        text = f"{len(user)}:{user}:{password}".encode("utf-8", "surrogatepass")
        return hashlib.scrypt(hashlib.sha256(text).digest(), salt=self._salt, **SCRYPT)


@dataclass(frozen=True)
class Waits:
    """How long wrong logins delay the next one.

    Attributes:
        free: wrong logins that delay nothing.
        first: seconds after the first that does; each further one doubles it.
        longest: seconds at most.
        forgotten: seconds without a wrong login after which all are forgotten.
    """

    free: int
    first: float
    longest: float
    forgotten: float = 3600

    def after(self, wrong: int) -> float:
        """Seconds that the next login has to wait after this many wrong ones."""
        beyond = wrong - self.free
        return 0.0 if beyond < 0 else min(self.longest, self.first * 2.0 ** min(beyond, 40))


PER_PEER = Waits(free=4, first=1, longest=900)
# The longest wait is short, so that nobody locks the owner out; addresses that have logged in are spared.
GLOBAL = Waits(free=20, first=0.5, longest=10)


@dataclass
class _Record:
    wrong: int = 0
    last: float = -math.inf


class LoginBrake:
    """ASGI middleware that delays logins after wrong ones: 429 with Retry-After until the wait is over.

    An attempt counts as wrong from its beginning until it turned out right, so that many at once gain nothing.

    Args:
        app: the application behind it; 200 from its login means that the login was right.
        per_peer, together: the waits for one address (IPv6: its /64 network) and for all addresses.
        clock: seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        per_peer: Waits = PER_PEER,
        together: Waits = GLOBAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app, self.per_peer, self.together, self.clock = app, per_peer, together, clock
        self._peers: OrderedDict[str, _Record] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()  # addresses that logged in
        self._all = _Record()
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].rstrip("/") != LOGIN_PATH:
            await self.app(scope, receive, send)
            return
        peer = _network(scope["client"][0] if scope.get("client") else "")
        wait = self.begin(peer)
        if wait > 0:
            text = f"Too many wrong logins: try again in {math.ceil(wait)} seconds."
            headers = {"Retry-After": str(math.ceil(wait))}
            await PlainTextResponse(text, status_code=429, headers=headers)(scope, receive, send)
            return

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                self.succeed(peer)
            await send(message)

        await self.app(scope, receive, watch)

    def begin(self, peer: str) -> float:
        """Seconds that the peer still has to wait; 0: it may try, which counts as wrong until `succeed`."""
        with self._lock:
            now = self.clock()
            record = self._peers.get(peer) or _Record()
            wait = self._left(record, self.per_peer, now)
            if peer not in self._known:
                wait = max(wait, self._left(self._all, self.together, now))
            if wait > 0:
                return wait
            self._peers[peer] = record
            self._peers.move_to_end(peer)
            while len(self._peers) > REMEMBERED:
                self._peers.popitem(last=False)
            for one in (record, self._all):
                one.wrong, one.last = one.wrong + 1, now
            return 0.0

    def succeed(self, peer: str) -> None:
        """The attempt that began was right."""
        with self._lock:
            self._peers.pop(peer, None)
            self._known[peer] = None
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            self._all.wrong = max(0, self._all.wrong - 1)

    @staticmethod
    def _left(record: _Record, waits: Waits, now: float) -> float:
        if now - record.last > waits.forgotten:
            record.wrong = 0
        return max(0.0, record.last + waits.after(record.wrong) - now) if record.wrong else 0.0


def _network(peer: str) -> str:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    return peer if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))
