"""Ctrl+C and its like: trainings stop after the current step, and every run saves its state."""

from __future__ import annotations

import signal
from typing import Any

__all__ = ["StopOnSignals"]


class StopOnSignals:
    """The first signal asks for a stop; a second one raises KeyboardInterrupt. Handlers are put back at the end.

    Args:
        names: such as "SIGINT"; those that the platform lacks are left out, and so is a SIGHUP that is ignored (nohup).
    """

    def __init__(self, *names: str) -> None:
        self.names = names or ("SIGINT", "SIGTERM")
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignals:
        for name in self.names:
            number = getattr(signal, name, None)
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                continue
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        """Was a stop asked for?"""
        return self._asked

    def stop(self) -> None:
        """Asks for a stop without a signal."""
        self._asked = True

    def _note(self, number: int, frame: Any) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
