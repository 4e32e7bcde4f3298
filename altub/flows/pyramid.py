"""One norm, one flow head and one learnable base per scale of a feature pyramid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from altub.flows.base import DiagonalGaussian
from altub.flows.norm_kinds import create_norm
from altub.flows.registry import create_head

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
        self.norms = nn.ModuleList(create_norm(config.norm, shape, config) for shape in self.shapes)
        self.heads = nn.ModuleList(create_head(config, shape) for shape in self.shapes)
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

    @torch.no_grad()
    def energy_maps(self, normalised: Sequence[Tensor]) -> list[Tensor]:
        """Per scale how unlikely each position is (`FlowHead.energy`), at the scale's own size: (N, h, w)."""
        return [head.energy(x, base) for head, base, x in zip(self.heads, self.bases, normalised, strict=True)]

    @property
    def needs_calibration(self) -> bool:
        """Does a head want the energies of held-out images after an epoch?"""
        return any(head.needs_calibration for head in self.heads)

    def calibrate(self, energies: Sequence[Tensor]) -> None:
        """Hands each head the energies (N, h, w) of its scale on held-out good images."""
        for head, own in zip(self.heads, energies, strict=True):
            head.calibrate(own)

    @torch.no_grad()
    def scale_maps(self, normalised: Sequence[Tensor], size: tuple[int, int], kind: str) -> Tensor:
        """Anomaly map of every scale at `size`: (N, scales, H, W), higher is more anomalous.

        kind "likelihood": -`FlowHead.likelihood` of the energy, in [-1, 0] on what looks like good images;
        kind "nll": the energy, unbounded.
        """
        maps = []
        for head, energy in zip(self.heads, self.energy_maps(normalised), strict=True):
            scale_map = (-head.likelihood(energy) if kind == "likelihood" else energy)[:, None]
            maps.append(F.interpolate(scale_map, size, mode="bilinear", align_corners=False))
        return torch.cat(maps, dim=1)
