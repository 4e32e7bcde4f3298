"""Coupling steps of which a backward pass stores the output alone.

An invertible flow need not store the activations that its gradient takes: from z the input of every step can be
computed again, the last step's first (Gomez et al., "The Reversible Residual Network", arXiv:1707.04585; Kingma and
Dhariwal, "Glow", arXiv:1807.03039, section 3.1). The memory of a training step then does not grow with the number of
coupling steps. The price is one more pass of the subnets, and rounding: inputs come back to single precision's
accuracy, and so do gradients (`tests/flows/test_recompute.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from altub.flows.coupling import CouplingStep

__all__ = ["run_steps"]


def run_steps(
    steps: Iterable[CouplingStep],
    x: Tensor,
    condition: Tensor | None = None,
    *,
    by_position: bool = False,
    recompute: bool = False,
) -> tuple[Tensor, Tensor]:
    """z (N, C, ...) of x, and the log-determinant: (N,), or the shares of the positions (N, ...).

    Args:
        steps: one after the other.
        condition: (N, channels, ...) of every step, if they are built with one.
        recompute: the backward pass computes the activations again, which are not stored. Nothing is different where
            no gradient is wanted, nor in a graph that is compiled, of which who compiles it makes the best. The
            condition gets no gradient.
    """
    steps = tuple(steps)
    if recompute and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        parameters = [parameter for step in steps for parameter in step.parameters()]
        if any(tensor.requires_grad for tensor in (x, *parameters)):
            return _Recomputed.apply(steps, by_position, x, condition, *parameters)
    return _forward(steps, by_position, x, condition)


def _forward(
    steps: Sequence[CouplingStep], by_position: bool, x: Tensor, condition: Tensor | None
) -> tuple[Tensor, Tensor]:
    z, log_det = x, x.new_zeros(())
    for step in steps:
        if by_position:
            z, of_step = step.transform(z, condition)
        else:
            (z,), of_step = step((z,), None if condition is None else (condition,))
        log_det = log_det + of_step
    return z, log_det


class _Recomputed(torch.autograd.Function):
    """(steps, by_position, x, condition, *parameters of the steps) -> (z, log-determinant)."""

    @staticmethod
    def forward(ctx, steps: Sequence[CouplingStep], by_position: bool, x: Tensor, condition, *parameters):
        z, log_det = _forward(steps, by_position, x, condition)
        ctx.steps, ctx.by_position, ctx.autocast = steps, by_position, _autocast_of(x.device.type)
        # The parameters take no memory: they are saved so that a change before the backward pass is noticed.
        ctx.save_for_backward(z, condition, *parameters)
        return z, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_z: Tensor, grad_log_det: Tensor):
        y, condition, *_ = ctx.saved_tensors
        grad_y, x_too = grad_z, ctx.needs_input_grad[2]
        of_parameters: list[Tensor | None] = []
        with ctx.autocast():
            for number, step in reversed(list(enumerate(ctx.steps))):
                grads, inputs_too = (grad_y, grad_log_det), x_too or number > 0
                y, grad_y, found = step.unwind(y, grads, condition, by_position=ctx.by_position, inputs_too=inputs_too)
                of_parameters = found + of_parameters
        return None, None, grad_y, None, *of_parameters


def _autocast_of(device: str) -> Callable[[], AbstractContextManager]:
    """The state of autocast here and now, to be entered again in the thread of the backward pass. Rounded weights are
    not kept: each is used once."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext
    dtype, enabled = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    return partial(torch.autocast, device, dtype, enabled=enabled, cache_enabled=False)
