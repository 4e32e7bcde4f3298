"""Who started a training on a Space: only that visitor may stop or resume it.

A visitor is a random token kept in their browser. The run directory holds only its hash, so that reading a run does not
reveal the token. Outside a Space everybody who reaches the page may control every run.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from altub import settings
from altub.errors import RunError
from altub.files import read_bytes, write_atomically
from altub.runs.run import Run

__all__ = ["check_may_control", "may_control", "new_visitor", "remember"]

OWNER_FILE = "begun-by"


def new_visitor() -> str:
    """A random token of 192 bits."""
    return secrets.token_urlsafe(24)


def remember(run: Run, visitor: str | None) -> None:
    """On a Space, records that this visitor started the run; without a visitor nothing."""
    if settings.on_space() and _is_token(visitor):
        write_atomically(run.path / OWNER_FILE, _hash(visitor))


def may_control(run: Run, visitor: str | None) -> bool:
    """May this visitor stop and resume the run?"""
    if not settings.on_space():
        return True
    try:
        owner = read_bytes(run.path / OWNER_FILE)
    except OSError:
        return False
    return _is_token(visitor) and hmac.compare_digest(owner, _hash(visitor))


def check_may_control(run: Run, visitor: str | None) -> None:
    """Refuses visitors who did not start the run.

    Raises:
        RunError: this visitor may not control it.
    """
    if not may_control(run, visitor):
        raise RunError("On this Space a training can be stopped and resumed only from the browser that started it.")


def _is_token(visitor: object) -> bool:
    return isinstance(visitor, str) and len(visitor) >= 16


def _hash(visitor: str) -> bytes:
    return hashlib.sha256(visitor.encode()).hexdigest().encode()
