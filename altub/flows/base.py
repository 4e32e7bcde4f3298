"""AltUB's learnable base distribution: one diagonal Gaussian per flow head."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

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
        return -0.5 * self.standardise(z).square().flatten(1).sum(1) - normaliser

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
