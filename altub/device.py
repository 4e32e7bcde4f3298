"""Device and precision, chosen once per run."""

from __future__ import annotations

import ctypes
import sys
from contextlib import AbstractContextManager, nullcontext, suppress

import torch

from altub.errors import ConfigError

__all__ = ["autocast", "choose_device", "choose_precision", "describe_device", "keep_freed_memory"]


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


def choose_precision(wish: str, device: torch.device) -> str:
    """ "fp32" or "bf16". "auto" takes bf16 on GPUs that compute in it, and exact fp32 elsewhere."""
    if wish != "auto":
        return wish
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


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
