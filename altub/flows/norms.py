"""Norms that bring feature maps to unit scale in front of a flow.

They are no part of the flow: their determinant does not count in the likelihood.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from altub.errors import ConfigError
from altub.flows.config import Norm

__all__ = [
    "NORMS",
    "AffineLayerNorm",
    "ChannelNorm",
    "FeatureNorm",
    "FittedNorm",
    "LayerNorm",
    "NoNorm",
    "Whitening",
    "create_norm",
]

EIGENVALUE_FLOOR = 1e-2  # of the mean eigenvalue: directions with less variance are noise and stay small
STD_FLOOR = 1e-3  # of the largest standard deviation: dead channels stay small
SMALLEST = 1e-12  # where everything is constant


class FeatureNorm(nn.Module):
    """Maps features (N, C, H, W) of one scale to the same shape.

    Args:
        shape: (C, H, W) at the training size.

    Attributes:
        needs_fit: whether it is of use only after :meth:`FittedNorm.fit`.
    """

    needs_fit: ClassVar[bool] = False

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()


class NoNorm(FeatureNorm):
    """Features as they are."""

    def forward(self, features: Tensor) -> Tensor:
        return features


class LayerNorm(FeatureNorm):
    """Each image's map to mean 0 and variance 1 over (C, H, W), without parameters; any input size runs.

    An affine part was found to make training less stable by AltUB's first author.
    """

    def forward(self, features: Tensor) -> Tensor:
        return F.layer_norm(features, features.shape[1:])


class AffineLayerNorm(FeatureNorm):
    """The published LayerNorm([C, H, W]) with its trainable gain and offset per position.

    At another input size gain and offset are interpolated.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__(shape)
        self.weight = nn.Parameter(torch.ones(*shape))
        self.bias = nn.Parameter(torch.zeros(*shape))

    def forward(self, features: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if features.shape[1:] != weight.shape:
            size = features.shape[2:]
            weight = F.interpolate(weight[None], size, mode="bilinear", align_corners=False)[0]
            bias = F.interpolate(bias[None], size, mode="bilinear", align_corners=False)[0]
        return F.layer_norm(features, features.shape[1:], weight, bias)


class FittedNorm(FeatureNorm):
    """A norm whose constants are moments of the training features."""

    needs_fit = True

    def fit(self, mean: Tensor, covariance: Tensor) -> None:
        """Sets the constants from the mean (C,) and covariance (C, C) over images and positions."""
        raise NotImplementedError


class ChannelNorm(FittedNorm):
    """Each channel to mean 0 and variance 1 over the training set, then fixed."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__(shape)
        self.register_buffer("mean", torch.zeros(shape[0]))
        self.register_buffer("std", torch.ones(shape[0]))

    @torch.no_grad()
    def fit(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean.copy_(mean)
        std = covariance.diagonal().clamp_min(0).sqrt()
        self.std.copy_(std.clamp_min(STD_FLOOR * std.max().clamp_min(SMALLEST)))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)


class Whitening(FittedNorm):
    """Decorrelated and at variance 1 over the training set, then fixed.

    The flow starts from the Gaussian model of the features instead of having to find it.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__(shape)
        self.register_buffer("mean", torch.zeros(shape[0]))
        self.register_buffer("matrix", torch.eye(shape[0]))

    @torch.no_grad()
    def fit(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean.copy_(mean)
        values, vectors = torch.linalg.eigh(covariance.double().cpu())
        values = values.clamp_min((EIGENVALUE_FLOOR * values.mean()).clamp_min(SMALLEST))
        self.matrix.copy_((vectors * values.rsqrt()) @ vectors.T)

    def forward(self, features: Tensor) -> Tensor:
        centred = features - self.mean.view(1, -1, 1, 1)
        return F.conv2d(centred, self.matrix[:, :, None, None])


NORMS: dict[Norm, type[FeatureNorm]] = {
    "layer": LayerNorm,
    "layer-affine": AffineLayerNorm,
    "channel": ChannelNorm,
    "whiten": Whitening,
    "none": NoNorm,
}


def create_norm(kind: Norm, shape: tuple[int, int, int]) -> FeatureNorm:
    """A fresh norm of that kind for features of the shape (C, H, W).

    Raises:
        ConfigError: there is no such norm.
    """
    if kind not in NORMS:
        raise ConfigError(f"There is no norm {kind!r}: choose one of {', '.join(NORMS)}.")
    return NORMS[kind](shape)
