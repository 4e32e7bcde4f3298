"""Who began a training on a Space: nobody else may stop it or go on with it.

A visitor is a random word that lives in their browser. The run directory keeps its hash alone, so that nobody becomes
another visitor by reading a run. Off a Space everybody at the page may do everything.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from altub import settings
from altub.errors import RunError
from altub.files import write_atomically
from altub.runs.run import Run

__all__ = ["check_may_control", "may_control", "new_visitor", "remember"]

OWNER_FILE = "begun-by"


def new_visitor() -> str:
    """A word that nobody can guess."""
    return secrets.token_urlsafe(24)


def remember(run: Run, visitor: str | None) -> None:
    """Notes on a Space that this visitor began the run; without a visitor nobody did."""
    if settings.on_space() and _is_word(visitor):
        write_atomically(run.path / OWNER_FILE, _hash(visitor))


def may_control(run: Run, visitor: str | None) -> bool:
    """May this visitor stop the run and go on with it?"""
    if not settings.on_space():
        return True
    try:
        owner = (run.path / OWNER_FILE).read_bytes()
    except OSError:
        return False
    return _is_word(visitor) and hmac.compare_digest(owner, _hash(visitor))


def check_may_control(run: Run, visitor: str | None) -> None:
    """Refuses visitors who did not begin the run.

    Raises:
        RunError: in a sentence.
    """
    if not may_control(run, visitor):
        raise RunError("On this Space a training can be stopped and resumed only from the browser that began it.")


def _is_word(visitor: object) -> bool:
    return isinstance(visitor, str) and len(visitor) >= 16


def _hash(visitor: str) -> bytes:
    return hashlib.sha256(visitor.encode()).hexdigest().encode()
