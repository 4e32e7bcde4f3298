"""The flow compiled by `torch.compile`, for long trainings on a GPU: fewer and larger kernels for the same mathematics.

A compilation takes a minute or more. So it is asked for (`compile`), is made before the first step, once for every
scale, and only for whole microbatches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from altub.errors import ConfigError
from altub.flows.head import microbatch_size
from altub.flows.registry import get_flow

if TYPE_CHECKING:
    from altub.training.config import TrainingConfig
    from altub.training.preparation import Prepared

__all__ = ["check_compilation", "compile_heads"]


def check_compilation(config: TrainingConfig, device: torch.device, processes: int = 1) -> None:
    """Can this training be compiled, where it shall be?

    Raises:
        ConfigError: the flow's steps are not of one shape, or this machine has no compiler.
    """
    if not config.compile:
        return
    if processes > 1:
        raise ConfigError("The share of a batch that a process has changes from step to step: leave compile off.")
    if not get_flow(config.flow.kind).head_class().can_compile():
        raise ConfigError(
            f"The flow {config.flow.kind} makes steps of its own, which are not compiled: leave compile off."
        )
    try:
        torch.compile(torch.neg)(torch.ones(2, device=device))
    except RuntimeError as error:
        raise _impossible(error) from error


def compile_heads(parts: Prepared) -> Iterator[str]:
    """Compiles each scale's likelihood and its gradient, if the settings say so; yields what it is doing.

    Raises:
        ConfigError: it cannot be compiled on this machine.
    """
    config, pyramid = parts.config, parts.pyramid
    if not config.compile:
        return
    for scale, (head, shape) in enumerate(zip(pyramid.heads, pyramid.shapes, strict=True)):
        yield f"compiling the flow, scale {scale + 1} of {len(pyramid.heads)}"
        batch = torch.zeros(min(config.batch_size, len(parts.trained)), *shape, device=parts.device)
        microbatch = batch[: microbatch_size(batch)]
        head.compile_nll(microbatch.shape)
        try:  # by who trains: the number of threads that PyTorch uses is a part of what is compiled
            list(parts.workers.map(lambda part, scale=scale: _try_out(parts, scale, part), [microbatch]))
        except RuntimeError as error:
            raise _impossible(error) from error


def _try_out(parts: Prepared, scale: int, microbatch: torch.Tensor) -> None:
    """One gradient as in a flow's turn, which makes the compiler work now and not in the first step."""
    head, base = parts.pyramid.heads[scale], parts.pyramid.bases[scale]
    joins = parts.config.base.base_joins_flow(1, 1)
    for parameter in base.parameters():
        parameter.requires_grad_(joins)
    (update,) = head.train_batch(microbatch, torch.nn.Identity(), base, precision=parts.autocast, seed=[0])
    loss, _ = update[0]()
    torch.autograd.grad(loss, list(head.parameters()))


def _impossible(error: RuntimeError) -> ConfigError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ConfigError(
        f"The flow cannot be compiled on this machine ({reason}). Install a C++ compiler such as g++, or leave compile "
        "off."
    )
