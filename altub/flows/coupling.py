"""The affine coupling step that FastFlow stacks, as one module of FrEIA's framework.

The mathematics is FrEIA's ``AllInOneBlock`` with hard permutation as released on PyPI (version 0.2): the clamp is
``clamp * tanh(a)``. (FrEIA's development branch has ``clamp * tanh(a / clamp)`` since 2023; the form is pinned here so
that a checkpoint never changes its meaning.) Two things differ, neither of them visible in the numbers:

* The permutation is an index lookup. As a C x C convolution it costs as much as a whole 1x1 layer of the subnet and
  stores two C x C matrices.
* The elementwise part of the step (coupling, global affine, permutation) is one autograd node that keeps only what
  its gradient needs, instead of a chain of nodes that each keep their own copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from FrEIA.modules import InvertibleModule
from torch import Tensor, nn

__all__ = ["AffineCoupling"]

GLOBAL_AFFINE_BETA = 0.5  # softplus(beta=0.5) keeps the global scale positive; FrEIA 0.2
GLOBAL_AFFINE_FACTOR = 0.1
SUBNET_FACTOR = 0.1  # the subnet's output is scaled down so that a fresh block is close to the identity
INITIAL_GLOBAL_SCALE = 2.0 * torch.tensor(5.0).expm1().log().item()  # 0.1 * softplus(value, beta=0.5) = 1


class AffineCoupling(InvertibleModule):
    """Affine coupling, per-channel affine and a fixed random permutation of the channels.

    With x = (x1, x2) split along channels (the first part takes the odd channel) and a = 0.1 * subnet(x1):

        s  = clamp * tanh(a_s)
        u  = (x1, x2 * exp(s) + a_t)
        y  = permute(u * g + b),            g = 0.1 * softplus(global_scale, beta=0.5)
        log|det J| = sum s + H * W * sum_c log g_c

    Args:
        dims_in: one shape (C, H, W) or (C,), C >= 2. H and W only matter to FrEIA's bookkeeping: any size runs.
        subnet_constructor: called as f(in_channels, out_channels), a module that keeps H and W.
        clamp: bound of |s|.

    Source: FastFlow (arXiv:2111.07677) section 3.2; FrEIA 0.2 ``AllInOneBlock``; Real NVP (arXiv:1605.08803).
    """

    def __init__(
        self,
        dims_in: Iterable[tuple[int, ...]],
        dims_c: Iterable[tuple[int, ...]] | None = None,
        *,
        subnet_constructor: Callable[[int, int], nn.Module],
        clamp: float = 2.0,
    ) -> None:
        super().__init__(dims_in, dims_c)
        if self.dims_c:
            raise ValueError("AffineCoupling takes no condition.")
        channels = self.dims_in[0][0]
        if channels < 2:
            raise ValueError(f"A coupling needs at least 2 channels to split, not {channels}.")
        self.clamp = clamp
        self.split = (channels - channels // 2, channels // 2)
        shape = (1, channels, *([1] * (len(self.dims_in[0]) - 1)))
        self.global_scale = nn.Parameter(torch.full(shape, INITIAL_GLOBAL_SCALE))
        self.global_offset = nn.Parameter(torch.zeros(shape))
        self.register_buffer("permutation", torch.randperm(channels))  # y[:, i] = u[:, permutation[i]]
        self.subnet = subnet_constructor(self.split[0], 2 * self.split[1])

    def output_dims(self, input_dims: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        return input_dims

    def forward(
        self, x_or_z: Iterable[Tensor], c: Iterable[Tensor] | None = None, rev: bool = False, jac: bool = True
    ) -> tuple[tuple[Tensor], Tensor]:
        """Maps ((N, C, ...),) to ((N, C, ...),) and the log-determinant (N,) of that direction."""
        (x,) = x_or_z
        if x.shape[1] != sum(self.split):
            raise ValueError(f"This coupling is built for {sum(self.split)} channels, not {x.shape[1]}.")
        gain = GLOBAL_AFFINE_FACTOR * F.softplus(self.global_scale, beta=GLOBAL_AFFINE_BETA)
        # Every position of every channel is scaled by its channel's gain.
        gain_log_det = x[0, 0].numel() * gain.log().sum()

        if rev:
            u = x[:, torch.argsort(self.permutation)]
            u = (u - self.global_offset) / gain
            u1, u2 = u.split(self.split, dim=1)
            a_s, a_t = (SUBNET_FACTOR * self.subnet(u1)).to(u.dtype).chunk(2, dim=1)
            s = self.clamp * torch.tanh(a_s)
            x2 = (u2 - a_t) * torch.exp(-s)
            return (torch.cat((u1, x2), dim=1),), -s.flatten(1).sum(1) - gain_log_det

        a = self.subnet(x[:, : self.split[0]])
        y, s_sum = _Couple.apply(x, a, gain, self.global_offset, self.permutation, self.clamp)
        return (y,), s_sum + gain_log_det


class _Couple(torch.autograd.Function):
    """(x, a, gain, offset) -> (permuted coupling output, sum of s); gradient written out by hand.

    Kept for the gradient: x, a (both exist anyway) and y's inputs are recomputed from them, which is cheaper than
    reading back the five tensors that the plain expression would keep.
    """

    @staticmethod
    def forward(ctx, x: Tensor, a: Tensor, gain: Tensor, offset: Tensor, permutation: Tensor, clamp: float):
        half = x.shape[1] - a.shape[1] // 2
        x1, x2 = x[:, :half], x[:, half:]
        a_s, a_t = a.chunk(2, dim=1)
        tanh = torch.tanh(a_s.to(x.dtype).mul(SUBNET_FACTOR))
        scale = torch.exp(tanh * clamp)
        u2 = torch.addcmul(a_t.to(x.dtype) * SUBNET_FACTOR, x2, scale)
        out = torch.empty_like(x)
        torch.addcmul(offset[:, :half], x1, gain[:, :half], out=out[:, :half])
        torch.addcmul(offset[:, half:], u2, gain[:, half:], out=out[:, half:])
        ctx.save_for_backward(x, tanh, scale, u2, gain, permutation)
        ctx.clamp, ctx.a_dtype = clamp, a.dtype
        return out.index_select(1, permutation), tanh.flatten(1).sum(1) * clamp

    @staticmethod
    def backward(ctx, grad_y: Tensor, grad_s_sum: Tensor):
        x, tanh, scale, u2, gain, permutation = ctx.saved_tensors
        half = x.shape[1] - tanh.shape[1]
        x1, x2 = x[:, :half], x[:, half:]
        positions = [0, *range(2, x.dim())]
        grad_u = torch.empty_like(grad_y)
        grad_u.index_copy_(1, permutation, grad_y)  # undoes the lookup
        grad_offset = grad_u.sum(positions, keepdim=True)
        grad_gain = torch.cat(
            [
                (grad_u[:, :half] * x1).sum(positions, keepdim=True),
                (grad_u[:, half:] * u2).sum(positions, keepdim=True),
            ],
            dim=1,
        )
        grad_u.mul_(gain)
        grad_u2 = grad_u[:, half:]
        # d/ds of x2 * exp(s), plus the log-determinant's own term, through s = clamp * tanh(0.1 a).
        grad_s = torch.addcmul(grad_s_sum.view(-1, *[1] * (x.dim() - 1)), grad_u2 * x2, scale)
        grad_a_s = grad_s.mul_(ctx.clamp * SUBNET_FACTOR).mul_(1 - tanh * tanh)
        grad_a = torch.cat([grad_a_s, grad_u2 * SUBNET_FACTOR], dim=1).to(ctx.a_dtype)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.cat([grad_u[:, :half], grad_u2 * scale], dim=1)
        return grad_x, grad_a, grad_gain, grad_offset, None, None
