"""The norms by their names."""

from __future__ import annotations

from altub.errors import ConfigError
from altub.flows.config import FlowConfig, Norm
from altub.flows.norms import AffineLayerNorm, ChannelNorm, FeatureNorm, LayerNorm, NoNorm, Whitening
from altub.flows.position_norm import PositionWhitening

__all__ = ["NORMS", "create_norm"]

NORMS: dict[Norm, type[FeatureNorm]] = {
    "position": PositionWhitening,
    "whiten": Whitening,
    "channel": ChannelNorm,
    "layer": LayerNorm,
    "layer-affine": AffineLayerNorm,
    "none": NoNorm,
}


def create_norm(kind: Norm, shape: tuple[int, int, int], config: FlowConfig | None = None) -> FeatureNorm:
    """A fresh norm of that kind for features of the shape (C, H, W).

    Args:
        config: where the norm's own settings come from; None: their defaults.

    Raises:
        ConfigError: there is no such norm.
    """
    if kind not in NORMS:
        raise ConfigError(f"There is no norm {kind!r}: choose one of {', '.join(NORMS)}.")
    return NORMS[kind](shape, config or FlowConfig())
