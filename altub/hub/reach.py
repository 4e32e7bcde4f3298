"""Can the Hub be reached at all? Asked before the client is, which tries for half a minute where it cannot."""

from __future__ import annotations

import threading

__all__ = ["PATIENCE", "check_reachable"]

PATIENCE = 3.0  # seconds


def check_reachable(patience: float = PATIENCE) -> None:
    """Asks the Hub for nothing, once.

    Raises:
        TimeoutError: no answer within `patience` seconds.
        whatever the client raises where it cannot connect; `explain_hub_errors` puts both into words.
    """
    from huggingface_hub import constants, get_session

    problems: list[Exception | None] = []

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=patience)
            problems.append(None)
        except Exception as error:  # raised again by the caller's thread
            problems.append(error)

    # A thread, since no client limits how long it takes to look a name up.
    thread = threading.Thread(target=ask, name="reaching the Hub", daemon=True)
    thread.start()
    thread.join(patience)
    if not problems:
        raise TimeoutError(f"no answer from {constants.ENDPOINT}")
    if problems[0] is not None:
        raise problems[0]
