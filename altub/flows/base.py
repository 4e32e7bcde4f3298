"""AltUB's learnable base distribution: one diagonal Gaussian per flow head."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from altub.flows.couple import blocks, flat

__all__ = ["DiagonalGaussian", "latent_moments"]

MIN_STD = 1e-4  # a channel that is constant over the training set must not get an infinite density


class DiagonalGaussian(nn.Module):
    """N(mu, diag(sigma^2)) over C channels, shared by all positions; starts at N(0, I), the plain flow's base.

    Attributes:
        mean: (C,) mu.
        log_std: (C,) log sigma.

    Source: AltUB (arXiv:2210.14913), section 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(channels))
        self.log_std = nn.Parameter(torch.zeros(channels))

    def standardise(self, z: Tensor) -> Tensor:
        """(z - mu) / sigma for z of shape (N, C, H, W)."""
        return (z - self.mean.view(1, -1, 1, 1)) * torch.exp(-self.log_std).view(1, -1, 1, 1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of each sample in nats, summed over its C * H * W dimensions: (N, C, H, W) -> (N,)."""
        positions = z.shape[2] * z.shape[3]
        normaliser = positions * (self.log_std.sum() + 0.5 * math.log(2 * math.pi) * z.shape[1])
        if torch.compiler.is_compiling() or z.dtype != self.mean.dtype:
            return -0.5 * self.standardise(z).square().flatten(1).sum(1) - normaliser
        return -0.5 * _SquaredDistance.apply(z, self.mean, self.log_std) - normaliser

    def log_prob_map(self, z: Tensor) -> Tensor:
        """Log-density per position, averaged over channels (nats per dimension): (N, C, H, W) -> (N, H, W)."""
        return -0.5 * self.standardise(z).square().mean(1) - self.log_std.mean() - 0.5 * math.log(2 * math.pi)

    @torch.no_grad()
    def set_moments(self, mean: Tensor, std: Tensor) -> None:
        """Puts the base at the given (C,) mean and standard deviation.

        With the flow frozen these moments of z over the training set minimise the negative log-likelihood exactly,
        so this replaces the gradient steps of a base phase.
        """
        self.mean.copy_(mean)
        self.log_std.copy_(std.clamp_min(MIN_STD).log())


class _SquaredDistance(torch.autograd.Function):
    """(z, mean, log_std) -> sum of ((z - mu) / sigma)^2 of each sample, (N,); keeps nothing but its input.

    It is bound by memory: on a CPU it works through blocks that fit a core's cache, as a coupling step does.
    """

    @staticmethod
    def forward(ctx, z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
        ctx.save_for_backward(z, mean, log_std)
        maps, centre, scale = flat(z), mean.view(1, -1, 1), torch.exp(-log_std).view(1, -1, 1)
        distance = z.new_zeros(len(z))
        for part in blocks(maps):
            distance[part[0]] += torch.sub(maps[part], centre).mul_(scale).square_().sum((1, 2))
        return distance

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        z, mean, log_std = ctx.saved_tensors
        z_too, *base_too = ctx.needs_input_grad
        maps, centre, scale = flat(z), mean.view(1, -1, 1), torch.exp(-log_std).view(1, -1, 1)
        weights, grad = scale.square().mul_(2), grad.view(-1, 1, 1)
        grad_z = torch.empty(z.shape, dtype=z.dtype, device=z.device) if z_too else None
        of_mean, of_log_std = torch.zeros_like(mean), torch.zeros_like(log_std)
        for part in blocks(maps):
            offset = torch.sub(maps[part], centre)
            slope = torch.mul(offset, weights, out=flat(grad_z)[part] if z_too else None).mul_(grad[part[0]])
            if any(base_too):
                of_mean -= slope.sum((0, 2))
                of_log_std -= offset.mul_(slope).sum((0, 2))
        return grad_z, of_mean if base_too[0] else None, of_log_std if base_too[1] else None


def latent_moments(
    batches: Iterable[list[Tensor]], add: Callable[[Tensor], Tensor] = lambda sums: sums
) -> list[tuple[Tensor, Tensor]]:
    """Per scale the mean and standard deviation (C,) of each channel of z over all images and positions.

    Args:
        batches: per batch one z (N, C, H, W) for every scale. Added up in float64.
        add: the sum of a tensor over the processes that share the images.
    """
    sums: list[list[Tensor | int]] = []
    for batch in batches:
        sums = sums or [[0, 0, 0] for _ in batch]
        for total, values in zip(sums, batch, strict=True):
            values = values.double()
            total[0] += values.numel() // values.shape[1]
            total[1] += values.sum((0, 2, 3))
            total[2] += values.square().sum((0, 2, 3))
    sums = [[add(torch.as_tensor(value, dtype=torch.float64)) for value in total] for total in sums]
    means = [(total / n, square / n) for n, total, square in sums]
    return [(mean.float(), (square - mean**2).clamp_min(0).sqrt().float()) for mean, square in means]
