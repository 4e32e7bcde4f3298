"""Device and worker threads, chosen once per run, and the context of reduced precision."""

from __future__ import annotations

import ctypes
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from altub.errors import ConfigError

__all__ = [
    "Workers",
    "autocast",
    "choose_device",
    "cpu_flags",
    "describe_device",
    "keep_freed_memory",
    "one_ahead",
    "send",
    "shapes_alone",
]

CPU_INFO = Path("/proc/cpuinfo")

Item = TypeVar("Item")
Result = TypeVar("Result")


def choose_device(wish: str = "auto") -> torch.device:
    """The device to run on; "auto" takes a GPU where there is one.

    Raises:
        ConfigError: a GPU was asked for by name and there is none.
    """
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("cpu")
    try:
        device = torch.device(wish)
    except RuntimeError:
        raise ConfigError(f"There is no device {wish!r}: use auto, cpu, cuda or mps.") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("device is cuda, but PyTorch sees no CUDA GPU here: use auto or cpu.")
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise ConfigError(f"There is no GPU {device.index}: PyTorch sees {torch.cuda.device_count()}.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device is mps, but PyTorch sees no Apple GPU here: use auto or cpu.")
    return device


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context in which the subnets run; fp32 is left exactly as it is."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def describe_device(device: torch.device) -> str:
    """What the page shows: "NVIDIA ..." or "CPU, 8 threads"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"CPU, {torch.get_num_threads()} threads"
    return device.type


@contextmanager
def shapes_alone() -> Iterator[None]:
    """What is made within it is on the "meta" device: shapes without numbers, in no time and no memory."""
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    """Initial weights that are never there are not drawn: PyTorch would import its compiler to draw them, which takes
    as long as importing torch."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "").endswith(("normal_", "uniform_")):
            tensor = args[0] if args else kwargs.get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        if func is torch.eye and len(args) == 1 and not kwargs:
            return torch.empty(args[0], args[0])
        return func(*args, **kwargs)


def cpu_flags() -> frozenset[str]:
    """What this CPU has instructions for, as Linux on x86 names it ("avx2", "amx_bf16"); empty on other systems."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", CPU_INFO.read_text(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(flags[1].split() if flags else ())


def keep_freed_memory() -> None:
    """Lets this process keep the memory that it frees, for its next step.

    A training step on a CPU takes and frees the same blocks of some MiB again and again. glibc gives such blocks back
    to the operating system at once, which then clears every page anew. Meant for a process that does nothing but
    train; elsewhere than on glibc it does nothing.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            mallopt = ctypes.CDLL("libc.so.6").mallopt
            mallopt(mmap_threshold, 32 << 20)  # the largest that glibc takes
            mallopt(trim_threshold, 2047 << 20)


def send(values: Tensor, device: torch.device) -> Tensor:
    """`values` on the device. What goes to a GPU is on its way: it takes it when it comes to it, and nobody waits."""
    if values.device == device or device.type in ("cpu", "mps"):  # mps may take it from memory that is free by then
        return values.to(device)
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()  # a GPU reads such memory by itself
    return values.to(device, non_blocking=True)


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the next of which is made, by another thread, while one is in use."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item


class Workers:
    """Pieces of work side by side on a CPU's cores, each piece on one core; on other devices one after the other.

    Splitting every small operation over the cores, as PyTorch does by itself, makes its threads wait for each other
    thousands of times a second. Pieces of a batch need not wait. The results also no longer depend on the number of
    cores. There are as many threads as PyTorch would use on this CPU.
    """

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
        finally:  # an error or an abandoned loop: nothing may still work on what the caller changes next
            for future in waiting:
                future.cancel()
            for future in waiting:
                if not future.cancelled():
                    future.exception()

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
