"""Messages of a watched folder to a URL: signed, tried again until they arrive, never in the way of the inspection.

The body is JSON. `X-AltUB-Signature` is "t=<seconds since 1970>,v1=<hex>": HMAC-SHA256, by the secret that both sides
know (`ALTUB_WEBHOOK_SECRET`), of the time, a full stop and the body. A receiver computes the same, compares, and
refuses times that lie far back. A message may arrive twice (an answer was lost): "journal" and "id" tell which it is.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from altub.errors import ConfigError
from altub.line.delivery import Delivery
from altub.line.journal import Journal

__all__ = ["Webhook", "check_url", "signature"]

TIMEOUT = 10.0  # seconds for one attempt
TRY_AGAIN = {408, 425, 429}  # of 400 to 499; the others mean that the receiver will never take it


def check_url(url: str) -> str:
    """The URL itself.

    Raises:
        ConfigError: it is no http or https URL with a host, or has a user name or password in it.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{url!r} is no address for a webhook: give one such as https://host/path.")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("The webhook's address has a password in it, which logs would show: leave it out.")
    return url


def signature(secret: str, body: bytes, at: int) -> str:
    """The value of `X-AltUB-Signature`.

    Example:
        >>> signature("s", b"{}", 0)[:12]
        't=0,v1=e79b1'
    """
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Webhook(Delivery):
    """Delivers the outbox of a journal to a URL.

    Args:
        journal: whose outbox.
        url: checked by `check_url`; redirects to elsewhere are not followed.
        secret: of the signature.
        tell: called with sentences on messages that the receiver refuses.

    Raises:
        ConfigError: the URL is not possible, or there is no secret.
    """

    def __init__(self, journal: Journal, url: str, secret: str, tell: Callable[[str], None] = lambda text: None):
        super().__init__(journal, "webhook", tell)
        if not secret:
            raise ConfigError("A webhook needs a secret for its signature: set ALTUB_WEBHOOK_SECRET.")
        self.url, self._secret = check_url(url), secret
        self._opener = urllib.request.build_opener(_NoRedirect)

    def send(self, body: bytes) -> tuple[str | None, bool]:
        at = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "altub",
            "X-AltUB-Signature": signature(self._secret, body, at),
        }
        request = urllib.request.Request(self.url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                answer.read(1024)
            return None, False
        except urllib.error.HTTPError as error:
            error.close()
            final = (400 <= error.code < 500 and error.code not in TRY_AGAIN) or 300 <= error.code < 400
            return f"HTTP {error.code}", final
        except (OSError, http.client.HTTPException) as error:
            return str(error), False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A receiver does not send messages on to other hosts."""

    def redirect_request(self, *_: object) -> None:
        return None
