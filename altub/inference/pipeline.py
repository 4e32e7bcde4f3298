"""Chunks of work through several threads, so that decoding, the model and writing overlap; results come in order.

A thread takes its chunk through all stages. While one is in the model, others decode and write: Pillow, zlib and
PyTorch release the interpreter's lock. How many chunks are open at a time is bounded by number and by weight.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["run_in_order", "threads_for"]

Item = TypeVar("Item")
Result = TypeVar("Result")

MODELS_AT_WORK = 2  # passes through a model at a time, as in `AnomalyDetector.raw_maps`
MOST_THREADS = 16


def threads_for(device: torch.device) -> int:
    """How many threads keep the model busy: on a CPU one more than cores, on a GPU as many as decode and write."""
    cores = torch.get_num_threads() if device.type == "cpu" else os.cpu_count() or 1
    return min(max(cores, MODELS_AT_WORK) + 1, MOST_THREADS)


def run_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    weight: Callable[[Item], int] = lambda item: 1,
    most: int = 1 << 62,
    discard: Callable[[Item], None] = lambda item: None,
) -> Iterator[tuple[Item, Result]]:
    """Each item with `function` of it, in order, computed by `threads` threads.

    Args:
        weight: of an item, such as its pixels; at most `most` of it is at work or waits to be fetched, or one item.
        discard: called with each item that was taken and is not worked on, after an error or an abandoned loop.
    """
    share = max(torch.get_num_threads() // MODELS_AT_WORK, 1)  # of PyTorch's threads, for each model at work
    pool = ThreadPoolExecutor(threads, "altub", initializer=torch.set_num_threads, initargs=(share,))
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    load = 0
    try:
        for item in items:
            more = weight(item)
            while waiting and (load + more > most or len(waiting) > threads):
                yield waiting[0][0], waiting[0][1].result()
                load -= weight(waiting.popleft()[0])
            waiting.append((item, pool.submit(function, item)))
            load += more
        while waiting:
            yield waiting[0][0], waiting[0][1].result()
            waiting.popleft()
    finally:
        for item, future in waiting:
            if future.cancel():
                discard(item)
        pool.shutdown()
