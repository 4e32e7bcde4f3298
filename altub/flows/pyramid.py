"""One norm, one flow head and one learnable base per scale of a feature pyramid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from altub.flows.base import DiagonalGaussian
from altub.flows.cflow import CFlowHead
from altub.flows.fastflow import FastFlowHead, FeatureNorm

if TYPE_CHECKING:
    from altub.flows.config import FlowConfig

__all__ = ["FlowPyramid"]


class FlowPyramid(nn.Module):
    """The trainable part of a detector: per scale a feature norm, a flow head and a base.

    Args:
        config: architecture of the heads.
        shapes: (C, H, W) of every scale at the training size.
    """

    def __init__(self, config: FlowConfig, shapes: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        self.shapes = [tuple(shape) for shape in shapes]
        self.norms = nn.ModuleList(FeatureNorm(config.norm, shape) for shape in self.shapes)
        self.heads = nn.ModuleList(_head(config, shape) for shape in self.shapes)
        self.bases = nn.ModuleList(DiagonalGaussian(channels) for channels, _, _ in self.shapes)

    def flow_parameters(self) -> Iterator[nn.Parameter]:
        """Everything that the flow phase trains: heads and, where they are trainable, norms."""
        yield from self.norms.parameters()
        yield from self.heads.parameters()

    def base_parameters(self) -> Iterator[nn.Parameter]:
        """mu and log sigma of every head: what AltUB's base phase trains."""
        yield from self.bases.parameters()

    def scale_parameters(self, scale: int) -> Iterator[nn.Parameter]:
        """All that belongs to one scale: norm, head and base. The scales share nothing."""
        for modules in (self.norms, self.heads, self.bases):
            yield from modules[scale].parameters()

    def normalise(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Applies each scale's norm."""
        return [norm(x) for norm, x in zip(self.norms, features, strict=True)]

    def latents(self, normalised: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Per scale z (N, C, H, W) and log|det J| (N,)."""
        return [head(x) for head, x in zip(self.heads, normalised, strict=True)]

    def nll(self, normalised: Sequence[Tensor]) -> list[Tensor]:
        """Per scale the negative log-likelihood of each image in nats, summed over dimensions: (N,).

        -log p(z) - log|det J|, METHOD: AltUB (arXiv:2210.14913) eq. 3 with FastFlow's flow.
        """
        return [
            -base.log_prob(z) - log_det for base, (z, log_det) in zip(self.bases, self.latents(normalised), strict=True)
        ]

    def dimensions(self, normalised: Sequence[Tensor]) -> list[int]:
        """C * H * W of each scale, to report losses per dimension."""
        return [x[0].numel() for x in normalised]

    @torch.no_grad()
    def energy_maps(self, normalised: Sequence[Tensor]) -> list[Tensor]:
        """Per scale how unlikely each position is, at the scale's own size: (N, 1, h, w), higher is more anomalous.

        FastFlow: 1/2 mean_c u^2 with u = (z - mu) / sigma, without the log-determinant, as published.
        CFLOW-AD: -log p of the position's features in nats per dimension, with the log-determinant.
        """
        maps = []
        for base, head, x in zip(self.bases, self.heads, normalised, strict=True):
            if isinstance(head, CFlowHead):
                z, log_det = head.forward_map(x)
                energy = -base.log_prob_map(z.float()) - log_det.float() / head.channels
            else:
                energy = 0.5 * base.standardise(head(x)[0].float()).square().mean(1)
            maps.append(energy[:, None])
        return maps

    @torch.no_grad()
    def scale_maps(self, normalised: Sequence[Tensor], size: tuple[int, int], kind: str) -> Tensor:
        """Anomaly map of every scale at `size`: (N, scales, H, W), higher is more anomalous.

        kind "likelihood": -exp(-energy), in [-1, 0] with FastFlow. With CFLOW-AD the energy counts from the head's
        `offset`, the least one in good images, so that every scale starts at -1;
        kind "nll": the energy, unbounded.
        """
        maps = []
        for head, energy in zip(self.heads, self.energy_maps(normalised), strict=True):
            if kind == "likelihood":
                scale_map = -torch.exp((head.offset if isinstance(head, CFlowHead) else 0.0) - energy)
            else:
                scale_map = energy
            maps.append(F.interpolate(scale_map, size, mode="bilinear", align_corners=False))
        return torch.cat(maps, dim=1)


def _head(config: FlowConfig, shape: tuple[int, int, int]) -> FastFlowHead | CFlowHead:
    channels, height, width = shape
    shared = {"steps": config.steps, "hidden_ratio": config.hidden_ratio, "clamp": config.clamp}
    if config.kind == "cflow":
        return CFlowHead(
            channels, (height, width), condition=config.condition, permutation=config.permutation, **shared
        )
    return FastFlowHead(channels, kernels=config.kernels, **shared)
