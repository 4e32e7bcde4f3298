"""How worker threads wait for each other; free of torch, because it must be said before torch is loaded."""

from __future__ import annotations

import os

__all__ = ["wait_passively"]


def wait_passively() -> None:
    """Lets OpenMP's threads sleep instead of spin while they wait.

    Spinning is faster on an idle machine by a little, and slower by a lot where a training shares its cores with the
    page, a browser or a second training: a thread then burns its time slice waiting for one that has no core.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
