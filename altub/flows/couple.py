"""The elementwise part of an affine coupling step: coupling, per-channel affine and exchange of channels.

It is bound by memory, not by arithmetic. On a CPU it therefore works through blocks of images and positions that fit a
core's own cache together with what comes of them, and an affine of channels is a multiplication and an addition, which
PyTorch does eight numbers at a time: `addcmul` with constants that are stretched over a map takes four times as long as
both (PyTorch 2.14).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from altub.device import cpu_flags

__all__ = [
    "CACHED_ELEMENTS",
    "SUBNET_FACTOR",
    "Couple",
    "Halve",
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


class Halve(torch.autograd.Function):
    """x -> (x1 for the subnet, x for `Couple`): its first channels, in half precision under autocast, and the whole.

    The gradient of x1 is added in place to that of x, which `Couple` has made for nobody else. As two halves of x, each
    with its gradient, they would be added to a third tensor and put together in a fourth.
    """

    @staticmethod
    def forward(ctx, x: Tensor, first: int):
        device, x1 = x.device.type, x[:, :first]
        # The "meta" device, on which costs are estimated, knows no autocast.
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            x1 = x1.to(torch.get_autocast_dtype(device))
        return x1, x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_x1: Tensor, grad_x: Tensor):
        grad_x[:, : grad_x1.shape[1]] += grad_x1
        return grad_x, None


class Couple(torch.autograd.Function):
    """(x, a, gain, offset) -> (permuted coupling output, sum of s); gradient written out by hand.

    It keeps nothing but its input, its output and tanh. `a` is what the subnet gives, maybe in half precision; its
    gradient is of that precision, too. `permutation` None leaves the channels in their order. The sum is one number an
    image, or with `by_position` a map of the sums over channels.
    """

    @staticmethod
    def forward(ctx, x, a, gain, offset, permutation, clamp: float, by_position: bool):
        count, channels, *size = x.shape
        second = channels // 2
        y, tanh = x.new_empty(x.shape), x.new_empty(count, second, *size)
        s = x.new_zeros(count, *(size if by_position else ()))
        gains, offsets, of_s = gain.view(1, -1, 1), offset.view(1, -1, 1), flat(s.unsqueeze(1))
        of_x, of_a, of_y, of_tanh = (flat(maps) for maps in (x, a, y, tanh))
        one, two = slice(-second), slice(-second, None)
        for part in blocks(of_y):
            images, _, positions = part
            a_s, a_t = of_a[part].to(x.dtype).chunk(2, dim=1)  # under autocast the subnet answers in half precision
            t = tanh_of(a_s, out=of_tanh[part])
            scale = torch.mul(t, clamp).exp_()
            u = of_y[part] if permutation is None else x.new_empty(of_y[part].shape)
            torch.mul(of_x[part][:, one], gains[:, one], out=u[:, one])
            torch.mul(a_t, SUBNET_FACTOR, out=u[:, two]).addcmul_(of_x[part][:, two], scale).mul_(gains[:, two])
            u.add_(offsets)
            if permutation is not None:
                torch.index_select(u, 1, permutation, out=of_y[part])
            if by_position:
                of_s[images, 0, positions] = t.sum(1)
            else:
                of_s[images, 0, 0] += t.sum((1, 2))
        ctx.save_for_backward(x, y, tanh, gain, offset, permutation)
        ctx.clamp, ctx.a_dtype, ctx.by_position = clamp, a.dtype, by_position
        return y, s.mul_(clamp)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y: Tensor, grad_s: Tensor):
        x, y, tanh, gain, offset, permutation = ctx.saved_tensors
        second, places = tanh.shape[1], None if permutation is None else torch.argsort(permutation)
        one, two = slice(-second), slice(-second, None)
        gains, grad_s = gain.view(1, -1, 1), flat(grad_s.unsqueeze(1))
        grad_x = y.new_empty(y.shape) if ctx.needs_input_grad[0] else None
        grad_a = torch.empty(len(y), 2 * second, *y.shape[2:], dtype=ctx.a_dtype, device=y.device)
        of_x, of_y, of_tanh, of_grad, of_grad_a = (flat(maps) for maps in (x, y, tanh, grad_y, grad_a))
        sums, dots = gain.new_zeros(gain.numel()), gain.new_zeros(gain.numel())
        for part in blocks(of_y):
            images, _, positions = part
            grad, t = of_grad[part], of_tanh[part]
            sums += grad.sum((0, 2))
            dots += torch.mul(grad, of_y[part]).sum((0, 2))
            grad2 = torch.mul(taken(grad, places, two), gains[:, two])
            of_s = grad_s[images, :, positions] if ctx.by_position else grad_s[images]
            scale = torch.mul(t, ctx.clamp).exp_()
            coupling_gradient(grad2, of_s, of_x[part][:, two], t, scale, ctx.clamp, of_grad_a[part])
            if grad_x is not None:
                torch.mul(taken(grad, places, one), gains[:, one], out=flat(grad_x)[part][:, one])
                flat(grad_x)[part][:, two] = grad2
        grad_gain, grad_offset = affine_gradients(sums, dots, gain, offset, places)
        return grad_x, grad_a, grad_gain, grad_offset, None, None, None


def tanh_of(a_s: Tensor, out: Tensor | None = None) -> Tensor:
    """Of the scaled answer. On most CPUs tanh(v) = 2 sigmoid(2 v) - 1 takes half the time of tanh."""
    if a_s.device.type != "cpu" or _has_quick_tanh():
        return torch.mul(a_s, SUBNET_FACTOR, out=out).tanh_()
    return torch.mul(a_s, 2 * SUBNET_FACTOR, out=out).sigmoid_().mul_(2).sub_(1)


@cache
def _has_quick_tanh() -> bool:
    """PyTorch takes tanh from Intel's MKL, which is quick on Intel's own CPUs; those with AMX were measured."""
    return torch.backends.mkl.is_available() and "amx_tile" in cpu_flags()


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
