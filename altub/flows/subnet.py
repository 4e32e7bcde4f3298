"""FastFlow's subnets: two small convolutions.

On a CPU with matrix tiles (AMX) a convolution in bfloat16 takes less time than bringing maps into the order in which it
computes, and back: PyTorch does so around every convolution. There a 1x1 convolution is a product of matrices here,
which needs no other order, and larger ones get maps with the channels of a position side by side, exchanged once before
the first and once after the last. What is computed is the same, to the rounding of bfloat16.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from altub.device import cpu_flags

__all__ = ["ConvolutionSubnet"]


class ConvolutionSubnet(nn.Sequential):
    """Two convolutions that keep the map size, a ReLU between them.

    Args:
        kernel: side of the kernels.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, hidden, kernel, padding="same"),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, out_channels, kernel, padding="same"),
        )

    def forward(self, maps: Tensor) -> Tensor:
        if not _uses_tiles(maps):
            return super().forward(maps)
        maps = maps.to(torch.bfloat16)
        if self[0].kernel_size != (1, 1):
            return _Order.apply(super().forward(_Order.apply(maps, True)), False)
        first, relu, second = self
        hidden = relu(_Product.apply(maps.flatten(2), first.weight, first.bias))
        return _Product.apply(hidden, second.weight, second.bias).unflatten(2, maps.shape[2:])


class _Product(torch.autograd.Function):
    """A 1x1 convolution of maps (N, C, P) in bfloat16, whose weight (O, C, 1, 1) and bias (O,) are in float32."""

    @staticmethod
    def forward(ctx, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        matrix = weight.flatten(1).to(maps.dtype)
        ctx.save_for_backward(maps, matrix)
        return torch.baddbmm(bias.to(maps.dtype).view(1, -1, 1), matrix.expand(len(maps), -1, -1), maps)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        maps, matrix = ctx.saved_tensors
        grad_maps = torch.bmm(matrix.T.expand(len(maps), -1, -1), grad) if ctx.needs_input_grad[0] else None
        grad_weight = torch.bmm(grad, maps.transpose(1, 2)).sum(0, dtype=torch.float32)
        grad_bias = grad.sum(2).sum(0, dtype=torch.float32)  # over both at once PyTorch copies the whole to float32
        return grad_maps, grad_weight.view(*grad_weight.shape, 1, 1), grad_bias


class _Order(torch.autograd.Function):
    """Maps (N, C, H, W) with the channels of a position side by side in memory or, not `last`, as usual; the gradient
    in the order that the maps came in."""

    @staticmethod
    def forward(ctx, maps: Tensor, last: bool) -> Tensor:
        ctx.last = last
        return _channels_last(maps) if last else _channels_first(maps)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return (_channels_first(grad) if ctx.last else _channels_last(grad)), None


def _channels_last(maps: Tensor) -> Tensor:
    # A product with ones and zeros is exact, and on tiles takes half the time of a copy in another order.
    flat = maps.flatten(2).transpose(1, 2) @ torch.eye(maps.shape[1], dtype=maps.dtype)
    return flat.unflatten(1, maps.shape[2:]).permute(0, 3, 1, 2)


def _channels_first(maps: Tensor) -> Tensor:
    flat = maps.contiguous(memory_format=torch.channels_last).flatten(2)
    return (torch.eye(maps.shape[1], dtype=maps.dtype) @ flat).unflatten(2, maps.shape[2:])


def _uses_tiles(maps: Tensor) -> bool:
    return (
        maps.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and not torch.compiler.is_compiling()
        and _has_tiles()
    )


@cache
def _has_tiles() -> bool:
    return "amx_bf16" in cpu_flags()
