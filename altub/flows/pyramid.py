"""One norm, one flow head and one learnable base per scale of a feature pyramid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from altub.flows.base import DiagonalGaussian
from altub.flows.inside import at_size, only_inside
from altub.flows.norm_kinds import create_norm
from altub.flows.registry import create_head

if TYPE_CHECKING:
    from altub.flows.config import FlowConfig

__all__ = ["LATER_BUFFERS", "FlowPyramid", "nll_of"]

LATER_BUFFERS = ("energy_range",)  # that models of version 0.1 do not have
RANGE = (0.5, 0.995)  # quantiles of the energies of good images, between which a scale's energies count from 0 to 1
LEAST_WEIGHT = 1e-6  # of the positions inside around a pixel; 0 where there are none
LEAST_LIKELIHOOD = 1e-37  # of a position; float32 ends soon after


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
        # Per scale the median and the 99.5 % quantile of the energies on held-out good images.
        self.register_buffer("energy_range", torch.tensor([0.0, 1.0]).repeat(len(self.shapes), 1))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        for name in LATER_BUFFERS:  # models and checkpoints of 0.1 lack them
            state_dict.setdefault(f"{prefix}{name}", getattr(self, name))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def inside(self) -> list[Tensor | None]:
        """Per scale the positions that count, bool (H, W); None: all."""
        return [norm.inside for norm in self.norms]

    def limit_to(self, inside: Sequence[Tensor | None]) -> None:
        """Norms, flows and bases see nothing but these positions from now on.

        Args:
            inside: per scale bool (H, W); None: all of them.
        """
        for norm, head, positions in zip(self.norms, self.heads, inside, strict=True):
            where = next(self.bases.parameters()).device
            norm.inside = head.inside = None if positions is None else positions.to(where)

    def recompute_activations(self, wish: bool) -> None:
        """Whether backward passes compute activations again, in the heads that can (`FlowHead.recomputes`)."""
        for head in self.heads:
            head.recompute = wish

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

    def normalise(self, features: Sequence[Tensor], norms: Iterable[nn.Module] | None = None) -> list[Tensor]:
        """Applies each scale's norm; or others, such as what features of a store have still to pass."""
        return [norm(x) for norm, x in zip(self.norms if norms is None else norms, features, strict=True)]

    def latents(self, normalised: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Per scale z (N, C, H, W) and log|det J| (N,)."""
        return [head(x) for head, x in zip(self.heads, normalised, strict=True)]

    def counted_latents(self, normalised: Sequence[Tensor]) -> list[Tensor]:
        """Per scale z (N, C, H, W), of which a base's moments are taken; of the P positions inside (N, C, P, 1)."""
        return [only_inside(z, head.inside) for head, (z, _) in zip(self.heads, self.latents(normalised), strict=True)]

    def nll(self, normalised: Sequence[Tensor]) -> list[Tensor]:
        """Per scale the negative log-likelihood of each image in nats, summed over dimensions: (N,).

        -log p(z) - log|det J|, METHOD: AltUB (arXiv:2210.14913) eq. 3 with FastFlow's flow.
        """
        return [head.nll(x, base) for head, base, x in zip(self.heads, self.bases, normalised, strict=True)]

    @torch.no_grad()
    def energy_maps(self, normalised: Sequence[Tensor], log_det_weight: float = 0.0) -> list[Tensor]:
        """Per scale how unlikely each position is (`FlowHead.energy`), at the scale's own size: (N, h, w)."""
        extra = {"log_det_weight": log_det_weight} if log_det_weight else {}  # a head of one's own may not know it
        return [head.energy(x, base, **extra) for head, base, x in zip(self.heads, self.bases, normalised, strict=True)]

    @torch.no_grad()
    def energies_and_nll(
        self, normalised: Sequence[Tensor], log_det_weight: float = 0.0
    ) -> tuple[list[Tensor], list[Tensor]]:
        """`energy_maps` and `nll` together, in less time."""
        parts = zip(self.heads, self.bases, normalised, strict=True)
        found = [head.energy_and_nll(x, base, log_det_weight) for head, base, x in parts]
        return [energy for energy, _ in found], [nll for _, nll in found]

    def calibrate(self, energies: Sequence[Tensor]) -> None:
        """Takes from the energies (N, h, w) of held-out good images, per scale, what the maps are measured by."""
        for scale, (head, own) in enumerate(zip(self.heads, energies, strict=True)):
            if head.needs_calibration:
                head.calibrate(own)
            low, high = np.quantile(own.float().cpu().numpy(), RANGE)
            self.energy_range[scale] = torch.tensor([low, max(high, low + 1e-6 * max(abs(low), 1.0))])

    @torch.no_grad()
    def scale_maps(
        self, normalised: Sequence[Tensor], size: tuple[int, int], kind: str, log_det_weight: float = 0.0
    ) -> Tensor:
        """`scale_maps_of` the energies of normalised features."""
        return self.scale_maps_of(self.energy_maps(normalised, log_det_weight), size, kind)

    @torch.no_grad()
    def scale_maps_of(self, energies: Sequence[Tensor], size: tuple[int, int], kind: str) -> Tensor:
        """Anomaly map of every scale at `size`: (N, scales, H, W), higher is more anomalous.

        energies: (N, h, w) of every scale, from `energy_maps`.
        kind "likelihood": -`FlowHead.likelihood` of the energy, in [-1, 0] on what looks like good images;
        others: the energy, unbounded.
        """
        maps = []
        for head, energy in zip(self.heads, energies, strict=True):
            scale_map = (-head.likelihood(energy) if kind == "likelihood" else energy)[:, None]
            maps.append(_enlarged(scale_map, size, head.inside))
        return torch.cat(maps, dim=1)

    def mean_likelihood(self, energies: Tensor) -> Tensor:
        """The mean over scales of `FlowHead.likelihood` of energies (N, scales, H, W): (N, 1, H, W)."""
        likelihoods = [head.likelihood(energies[:, scale]) for scale, head in enumerate(self.heads)]
        return torch.stack(likelihoods).mean(0)[:, None]

    def in_range(self, scale_maps: Tensor, kind: str) -> Tensor:
        """`scale_maps` (N, scales, H, W) with each scale's range on good images brought to [0, 1]; energies are
        unbounded above."""
        ends = self.energy_range
        if kind == "likelihood":
            ends = torch.stack([-head.likelihood(own) for head, own in zip(self.heads, ends, strict=True)])
        low, high = ends.to(scale_maps.device).view(1, -1, 2, 1, 1).unbind(2)
        return (scale_maps - low) / (high - low)


def _enlarged(maps: Tensor, size: tuple[int, int], inside: Tensor | None) -> Tensor:
    """Maps (N, 1, h, w) at another size. Between a position inside and one outside the first alone counts: what a flow
    makes of positions that it was never trained on means nothing."""
    inside = at_size(inside, maps.shape[2:])
    if inside is None:
        return F.interpolate(maps, size, mode="bilinear", align_corners=False)
    values = F.interpolate(maps.masked_fill(~inside, 0.0), size, mode="bilinear", align_corners=False)
    weights = F.interpolate(inside[None, None].to(maps.dtype), size, mode="bilinear", align_corners=False)
    return values / weights.clamp_min(LEAST_WEIGHT)


def nll_of(likelihood: Tensor) -> Tensor:
    """-log of likelihoods, finite where they end at 0."""
    return -likelihood.clamp_min(LEAST_LIKELIHOOD).log()
