"""The number format of a training's forward pass, and whether a CPU gains from bfloat16, which is measured."""

from __future__ import annotations

import threading
import time
from functools import cache

import torch
from torch import nn

from altub.device import cpu_flags
from altub.settings import auto_precision

__all__ = ["bf16_pays", "choose_precision", "has_bf16"]

FLAGS = {"avx512_bf16", "amx_bf16"}  # as Linux names them; without one bf16 is computed by way of fp32, slower
SHAPE = (8, 64, 32, 32)  # a microbatch of half the channels of resnet18's second scale
TURNS = 3  # after one that is not counted
WORTH_IT = 0.8  # of the convolutions' time; they are two thirds of a step's, and what is rounded must bring something


def choose_precision(wish: str, device: torch.device) -> str:
    """ "fp32" or "bf16". "auto" takes bf16 on GPUs that compute in it, on a CPU where `bf16_pays`; else exact fp32.

    ``ALTUB_PRECISION`` says instead what "auto" means, for trainings that shall be the same on different machines.

    Raises:
        ConfigError: ``ALTUB_PRECISION`` is something else.
    """
    if wish != "auto":
        return wish
    if (meant := auto_precision()) is not None:
        return meant
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and bf16_pays() else "fp32"


def has_bf16() -> bool:
    """Has this CPU instructions for bfloat16? Known of Linux on x86 only."""
    return not FLAGS.isdisjoint(cpu_flags())


@cache
def bf16_pays() -> bool:
    """Are a coupling's convolutions, forward and backward, clearly faster in bfloat16? Measured once a process, in
    about half a second; at once where `has_bf16` says no."""
    if not has_bf16():
        return False
    found: list[bool] = []
    # A thread of its own: both the number of threads that PyTorch uses and the clock are the thread's. What else the
    # machine does takes none of the thread's own time, so the answer is the same at every start.
    thread = threading.Thread(target=lambda: found.append(_ratio() < WORTH_IT))
    thread.start()
    thread.join()
    return found == [True]


def _ratio() -> float:
    """Processor time in bfloat16 as a share of that in float32, the shortest of some turns each."""
    torch.set_num_threads(1)
    channels = SHAPE[1]
    with torch.random.fork_rng(devices=[]):  # nobody's random numbers depend on whether this was measured
        features = torch.randn(SHAPE)
        subnet = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding="same"),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, 2 * channels, 3, padding="same"),
        )
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(TURNS + 1):
        for reduced, taken in times.items():
            began = time.thread_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
                outputs = subnet(features)
            torch.autograd.grad(outputs.float().square().mean(), list(subnet.parameters()))
            taken.append(time.thread_time() - began)
    return min(times[True][1:]) / min(times[False][1:])
