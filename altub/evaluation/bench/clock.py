"""What work on a device takes: seconds, processor time, memory, and its share of what the device can compute.

A GPU goes on computing after the call that asked for it has returned, so the clock is read only once it is done.
`peer.py`, which finds nothing of ours, has the same few lines.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from altub.device import describe_device

__all__ = [
    "Taken",
    "about_device",
    "forget_peak",
    "peak_memory",
    "roofline_share",
    "synchronise",
    "timed",
    "uses_tf32",
]

Result = TypeVar("Result")
MIB = 1 << 20


@dataclass(frozen=True)
class Taken:
    """Seconds by the clock, and of this process's threads on the CPU."""

    seconds: float
    cpu_seconds: float


def synchronise(device: torch.device) -> None:
    """Waits until the device has done all that it was asked for; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def uses_tf32(device: torch.device) -> bool:
    """Does this device round the inputs of fp32 convolutions to 10 bits? PyTorch's default on newer NVIDIA GPUs."""
    if device.type != "cuda" or not torch.backends.cudnn.allow_tf32:
        return False
    first_with_it = 8  # compute capability of the A100
    return torch.cuda.get_device_capability(device)[0] >= first_with_it


def timed(work: Callable[[], Result], device: torch.device) -> tuple[Result, Taken]:
    """What `work` returns, and what it took until the device had done it; what was asked before is not counted."""
    synchronise(device)
    began, cpu_began = time.perf_counter(), time.process_time()
    result = work()
    synchronise(device)
    return result, Taken(time.perf_counter() - began, time.process_time() - cpu_began)


def forget_peak(device: torch.device) -> None:
    """Lets `peak_memory` of a CUDA GPU count from now on; what a process had resident cannot be forgotten."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> float:
    """MiB so far: on a CUDA GPU of its tensors, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / MIB


def roofline_share(flops: float, rate: float, taken: Taken, device_type: str) -> float:
    """Time that these operations take at this rate, of the time that was taken.

    Args:
        rate: `matmul_rate`, which counts processor time on a CPU and seconds elsewhere.
    """
    return flops / rate / (taken.cpu_seconds if device_type == "cpu" else taken.seconds)


def about_device(device: torch.device, threads: int) -> dict[str, Any]:
    """What a result names: the device, its threads where it is a CPU, and how a GPU's fp32 multiplies."""
    name = f"CPU, {threads} threads" if device.type == "cpu" else describe_device(device)
    return {"device": device.type, "device_name": name, "threads": threads, "tf32": uses_tf32(device)}
