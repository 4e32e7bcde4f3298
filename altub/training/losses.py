"""Losses on their way from the device that trains to the program: read without making either wait for the other.

Reading a number from a GPU waits until the GPU has done all that it was told, and then the GPU waits for its next
order. Here the number is copied behind the step that computes it, and looked at once it has arrived.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["LossReader"]

MOST_WAITING = 256  # steps; from there on the oldest is waited for, so that nobody watches a loss of long ago


class LossReader:
    """Takes losses in the order of their steps, and gives them back in it.

    On a CPU a loss is there at once.

    Example:
        >>> losses = LossReader()
        >>> losses.put(torch.tensor([2.0, 0.5]), images=32)
        >>> list(losses.arrived())
        [([2.0, 0.5], 32)]
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Tensor, torch.Event | None, int]] = deque()

    def __len__(self) -> int:
        """Steps whose loss was not given back yet."""
        return len(self._waiting)

    def put(self, losses: Tensor, images: int) -> None:
        """Takes a step's losses (scales,), wherever they are computed, and the number of images that they stand for."""
        self._waiting.append((*_copied(losses), images))

    def arrived(self, wait: bool = False) -> Iterator[tuple[list[float], int]]:
        """What has arrived since the last call: (losses, images) of each step. With `wait`, of all steps."""
        while self._waiting:
            losses, event, images = self._waiting[0]
            if event is not None and not event.query():
                if not wait and len(self._waiting) <= MOST_WAITING:
                    return
                event.synchronize()
            self._waiting.popleft()
            yield losses.tolist(), images


def _copied(losses: Tensor) -> tuple[Tensor, torch.Event | None]:
    """A copy in the program's own memory, and what says when it has arrived there; None: it has."""
    if losses.device.type != "cuda":  # others do not say when a copy that nobody waits for has arrived
        return losses.detach().cpu(), None
    copy = losses.detach().to("cpu", non_blocking=True)
    event = torch.Event(losses.device)
    event.record()
    return copy, event
