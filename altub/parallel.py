"""Pieces of work side by side on a CPU's cores, each piece on one core.

Splitting every small operation over the cores, as PyTorch does by itself, makes its threads meet thousands of times a
second: they either burn their cores while they wait or pay for being woken. Pieces of a batch need not meet at all. The
results also no longer depend on the number of cores.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["Workers"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """As many threads as PyTorch would use on this CPU, with one core each; on other devices none."""

    def __init__(self, device: torch.device) -> None:
        self.count = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None
        if device.type == "cpu":
            # PyTorch's setting belongs to the thread that makes it.
            self._pool = ThreadPoolExecutor(self.count, "altub", initializer=torch.set_num_threads, initargs=(1,))

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`function` of every item, in order; only a few results wait to be fetched at any time."""
        if self._pool is None:
            yield from map(function, items)
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(function, item))
                if len(waiting) > self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # an error or an abandoned loop: nothing may still be at work on what the caller goes on to change
            for future in waiting:
                future.cancel()
            for future in waiting:
                if not future.cancelled():
                    future.exception()

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
