"""The elementwise part of an affine coupling step: coupling, per-channel affine and exchange of channels.

It is bound by memory, not by arithmetic. On a CPU it therefore works through blocks of images and positions that fit a
core's own cache together with what comes of them, and an affine of channels is a multiplication and an addition, which
PyTorch does eight numbers at a time: `addcmul` with constants that are stretched over a map takes four times as long as
both (PyTorch 2.14).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = [
    "CACHED_ELEMENTS",
    "SUBNET_FACTOR",
    "Couple",
    "affine_gradients",
    "blocks",
    "coupling_gradient",
    "flat",
    "taken",
    "tanh_of",
]

CACHED_ELEMENTS = 1 << 19  # values of x worked on at a time on a CPU: 2 MiB in float32
SUBNET_FACTOR = 0.1  # the subnet's output is scaled down so that a fresh block is close to the identity


def flat(maps: Tensor) -> Tensor:
    """(N, C, ...) as (N, C, P), with P = 1 for (N, C): a view wherever there can be one."""
    return maps.flatten(2) if maps.dim() > 2 else maps.unsqueeze(2)


def blocks(x: Tensor) -> list[tuple[slice, slice, slice]]:
    """x (N, C, P) as blocks with all channels that fit a core's cache; on other devices as a whole."""
    count, channels, positions = x.shape
    if x.device.type != "cpu" or x.numel() == 0:
        return [(slice(None), slice(None), slice(None))]
    width = min(max(CACHED_ELEMENTS // channels, 1), positions)
    height = max(CACHED_ELEMENTS // (channels * width), 1)
    return [
        (slice(image, image + height), slice(None), slice(position, position + width))
        for image in range(0, count, height)
        for position in range(0, positions, width)
    ]


def taken(maps: Tensor, places: Tensor | None, channels: slice) -> Tensor:
    """Those channels of u, of which channel c is in maps[:, places[c]]; places None: in maps[:, c]."""
    return maps[:, channels] if places is None else maps.index_select(1, places[channels])


class Couple(torch.autograd.Function):
    """(x1, x2, a, gain, offset) -> (permuted coupling output, sum of s); gradient written out by hand.

    It keeps nothing but its input, its output and tanh. `a` is what the subnet gives, maybe in half precision; its
    gradient is of that precision, too. `permutation` None leaves the channels in their order. The sum is one number an
    image, or with `by_position` a map of the sums over channels.
    """

    @staticmethod
    def forward(ctx, x1, x2, a, gain, offset, permutation, clamp: float, by_position: bool):
        first = x1.shape[1]
        y = x1.new_empty(len(x1), first + x2.shape[1], *x1.shape[2:])
        tanh, s = x2.new_empty(x2.shape), x1.new_zeros(len(x1), *(x1.shape[2:] if by_position else ()))
        gains, offsets, s_flat = gain.view(1, -1, 1), offset.view(1, -1, 1), s.view(len(x1), -1)
        of_x1, of_x2, of_a, of_y, of_tanh = (flat(maps) for maps in (x1, x2, a, y, tanh))
        for part in blocks(of_y):
            images, _, positions = part
            a_s, a_t = of_a[part].to(x1.dtype).chunk(2, dim=1)  # under autocast the subnet answers in half precision
            t = tanh_of(a_s, out=of_tanh[part])
            scale = torch.mul(t, clamp).exp_()
            u = of_y[part] if permutation is None else x1.new_empty(of_y[part].shape)
            torch.mul(of_x1[part], gains[:, :first], out=u[:, :first])
            torch.mul(a_t, SUBNET_FACTOR, out=u[:, first:]).addcmul_(of_x2[part], scale).mul_(gains[:, first:])
            u.add_(offsets)
            if permutation is not None:
                torch.index_select(u, 1, permutation, out=of_y[part])
            if by_position:
                s_flat[images, positions] = t.sum(1)
            else:
                s_flat[images, 0] += t.sum((1, 2))
        ctx.save_for_backward(x2, y, tanh, gain, offset, permutation)
        ctx.clamp, ctx.a_dtype, ctx.by_position = clamp, a.dtype, by_position
        return y, s.mul_(clamp)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y: Tensor, grad_s: Tensor):
        x2, y, tanh, gain, offset, permutation = ctx.saved_tensors
        first, places = y.shape[1] - x2.shape[1], None if permutation is None else torch.argsort(permutation)
        one, two = slice(first), slice(first, None)
        grad_s = grad_s.reshape(len(y), 1, -1)
        gains, grad_x1, grad_x2 = gain.view(1, -1, 1), None, None
        if ctx.needs_input_grad[0]:
            grad_x1, grad_x2 = (y.new_empty(len(y), count, *y.shape[2:]) for count in (first, x2.shape[1]))
        grad_a = torch.empty(len(y), 2 * x2.shape[1], *y.shape[2:], dtype=ctx.a_dtype, device=y.device)
        of_x2, of_y, of_tanh, of_grad, of_grad_a = (flat(maps) for maps in (x2, y, tanh, grad_y, grad_a))
        sums, dots = gain.new_zeros(gain.numel()), gain.new_zeros(gain.numel())
        for part in blocks(of_y):
            images, _, positions = part
            grad, t = of_grad[part], of_tanh[part]
            sums += grad.sum((0, 2))
            dots += torch.mul(grad, of_y[part]).sum((0, 2))
            grad2 = torch.mul(taken(grad, places, two), gains[:, two])
            of_s = grad_s[images, :, positions] if ctx.by_position else grad_s[images]
            coupling_gradient(grad2, of_s, of_x2[part], t, torch.mul(t, ctx.clamp).exp_(), ctx.clamp, of_grad_a[part])
            if grad_x1 is not None:
                torch.mul(taken(grad, places, one), gains[:, one], out=flat(grad_x1)[part])
                flat(grad_x2)[part] = grad2
        grad_gain, grad_offset = affine_gradients(sums, dots, gain, offset, places)
        return grad_x1, grad_x2, grad_a, grad_gain, grad_offset, None, None, None


def tanh_of(a_s: Tensor, out: Tensor | None = None) -> Tensor:
    """Of the scaled answer: tanh(v) = 2 sigmoid(2 v) - 1, at half the price of tanh on a CPU."""
    return torch.mul(a_s, 2 * SUBNET_FACTOR, out=out).sigmoid_().mul_(2).sub_(1)


def affine_gradients(
    sums: Tensor, dots: Tensor, gain: Tensor, offset: Tensor, places: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The gradients of gain and offset in y = permuted u * gain + offset, which need u no more: it is in y.

    Args:
        sums, dots: for each channel of y (C,), the sums of y's gradient and of that times y.
        gain, offset: (1, C, ...), in the order of u.
        places: u[:, c] is in y[:, places[c]]; None: in their order.
    """
    if places is not None:
        sums, dots = sums[places], dots[places]
    sums, dots = sums.view_as(gain), dots.view_as(gain)
    return torch.addcmul(dots, offset, sums, value=-1).div_(gain), sums


def coupling_gradient(
    grad: Tensor, grad_s: Tensor, x2: Tensor, tanh: Tensor, scale: Tensor, clamp: float, grad_a: Tensor
) -> None:
    """Turns the gradient of u2 = x2 * exp(s) + 0.1 a_t into that of x2, and writes that of a = (a_s, a_t)."""
    grad_a_s, grad_a_t = grad_a.chunk(2, dim=1)
    torch.mul(grad, SUBNET_FACTOR, out=grad_a_t)
    grad.mul_(scale)
    # d/ds of x2 * exp(s), plus the log-determinant's own term, through s = clamp * tanh(0.1 a_s).
    of_tanh = torch.ops.aten.tanh_backward(torch.mul(grad, x2).add_(grad_s), tanh)
    torch.mul(of_tanh, clamp * SUBNET_FACTOR, out=grad_a_s)
