"""Norms that bring feature maps to unit scale in front of a flow.

They are no part of the flow: their determinant does not count in the likelihood.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from altub.errors import ConfigError
from altub.flows.config import FlowConfig
from altub.flows.inside import at_size, hide_outside, only_inside

__all__ = [
    "AffineLayerNorm",
    "ChannelNorm",
    "FeatureNorm",
    "FittedNorm",
    "LayerNorm",
    "Moments",
    "NoNorm",
    "NormFit",
    "Whitening",
    "whitening_matrix",
]

EIGENVALUE_FLOOR = 1e-2  # of the mean eigenvalue: directions with less variance are noise and stay small
STD_FLOOR = 1e-3  # of the largest standard deviation: dead channels stay small
SMALLEST = 1e-12  # where everything is constant
LAYER_NORM_EPSILON = 1e-5  # PyTorch's


class FeatureNorm(nn.Module):
    """Maps features (N, C, H, W) of one scale to the same shape.

    Args:
        shape: (C, H, W) at the training size.
        config: settings of the flow, for norms that have some.

    Attributes:
        needs_fit: whether it is of use only after :meth:`FittedNorm.start_fit`.
        inside: bool (H, W), the positions that count; the others are 0 in what comes out and nothing is learned from
            them. None: all.
    """

    needs_fit: ClassVar[bool] = False
    inside: Tensor | None

    def __init__(self, shape: tuple[int, int, int], config: FlowConfig | None = None) -> None:
        super().__init__()
        self.register_buffer("inside", None, persistent=False)  # follows from the model's configuration

    def forward(self, features: Tensor) -> Tensor:
        return hide_outside(self.normalise(features), self.inside)

    def normalise(self, features: Tensor) -> Tensor:
        """Features (N, C, H, W) at unit scale, at all positions."""
        raise NotImplementedError

    @property
    def is_fixed(self) -> bool:
        """Does training leave it as it is? What it makes of features can then be kept in their place."""
        return next(self.parameters(), None) is None


class NoNorm(FeatureNorm):
    """Features as they are."""

    def normalise(self, features: Tensor) -> Tensor:
        return features


class LayerNorm(FeatureNorm):
    """Each image's map to mean 0 and variance 1 over (C, H, W), without parameters; any input size runs.

    An affine part was found to make training less stable by AltUB's first author.
    """

    def normalise(self, features: Tensor) -> Tensor:
        return _layer_norm(features, self.inside)


class AffineLayerNorm(FeatureNorm):
    """The published LayerNorm([C, H, W]) with its trainable gain and offset per position.

    At another input size gain and offset are interpolated.
    """

    def __init__(self, shape: tuple[int, int, int], config: FlowConfig | None = None) -> None:
        super().__init__(shape, config)
        self.weight = nn.Parameter(torch.ones(*shape))
        self.bias = nn.Parameter(torch.zeros(*shape))

    def normalise(self, features: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if features.shape[1:] != weight.shape:
            size = features.shape[2:]
            weight = F.interpolate(weight[None], size, mode="bilinear", align_corners=False)[0]
            bias = F.interpolate(bias[None], size, mode="bilinear", align_corners=False)[0]
        if self.inside is None:
            return F.layer_norm(features, features.shape[1:], weight, bias)
        return _layer_norm(features, self.inside) * weight + bias


def _layer_norm(features: Tensor, inside: Tensor | None) -> Tensor:
    """Each image's map to mean 0 and variance 1, taken over the positions inside."""
    inside = at_size(inside, features.shape[2:])
    if inside is None:
        return F.layer_norm(features, features.shape[1:])
    count = features.shape[1] * inside.sum()
    centred = features - _sum_inside(features, inside) / count
    return centred * (_sum_inside(centred.square(), inside) / count + LAYER_NORM_EPSILON).rsqrt()


def _sum_inside(maps: Tensor, inside: Tensor) -> Tensor:
    """(N, 1, 1, 1)."""
    return maps.masked_fill(~inside, 0.0).sum((1, 2, 3), keepdim=True)


class Moments:
    """Mean and covariance of features over images and positions, from one pass.

    Products are taken in float32 around the batch's own mean and brought back around zero in float64: of channels whose
    mean is far from zero nothing is lost to rounding, and it hardly matters how images are divided into batches.
    """

    def __init__(self) -> None:
        self.positions, self._sums, self._products = 0, 0.0, 0.0

    def add(self, features: Tensor) -> None:
        """Features (N, C, H, W) of some more images."""
        rows = features.transpose(0, 1).flatten(1)  # (C, positions)
        count, sums = rows.shape[1], rows.sum(1, dtype=torch.float64)
        centre = (sums / count).to(rows.dtype)
        rows, centre = rows - centre[:, None], centre.double()
        mixed = sums[:, None] * centre
        self.positions += count
        self._sums = self._sums + sums
        self._products = self._products + (rows @ rows.T).double() + mixed + mixed.T - count * centre[:, None] * centre

    def merge(self, add: Callable[[Tensor], Tensor]) -> None:
        """Sums over several processes, each of which has seen some features; `add` sums a tensor over them."""
        self._sums, self._products = add(self._sums), add(self._products)
        self.positions = int(add(torch.tensor(float(self.positions), dtype=torch.float64)))

    @property
    def mean(self) -> Tensor:
        """(C,)."""
        return self._sums / self.positions

    @property
    def second_moment(self) -> Tensor:
        """(C, C), around zero."""
        return self._products / self.positions

    @property
    def covariance(self) -> Tensor:
        """(C, C)."""
        return self.second_moment - self.mean[:, None] * self.mean


class NormFit(ABC):
    """Sets a norm's constants from training features that are shown to it, all of them as often as it asks."""

    @abstractmethod
    def observe(self, features: Tensor) -> None:
        """Features (N, C, H, W) of some images."""

    def merge(self, add: Callable[[Tensor], Tensor]) -> None:
        """Called before `end_pass` where several processes observed a share of the images each.

        Args:
            add: the sum of a tensor over all processes, which call it in the same order.
        """
        raise ConfigError(f"{type(self).__name__} cannot be fitted by several processes: train with one.")

    @abstractmethod
    def end_pass(self) -> bool:
        """Every image was observed. True: the norm is ready; False: it wants to see all of them once more."""


class FittedNorm(FeatureNorm):
    """A norm whose constants are moments of the training features."""

    needs_fit = True

    def start_fit(self) -> NormFit:
        """What takes the training features in; by default one pass for :meth:`fit`."""
        return _MomentsFit(self)

    def fit(self, mean: Tensor, covariance: Tensor) -> None:
        """Sets the constants from the mean (C,) and covariance (C, C) over images and positions."""
        raise NotImplementedError


class _MomentsFit(NormFit):
    def __init__(self, norm: FittedNorm) -> None:
        self.norm, self.moments = norm, Moments()

    def observe(self, features: Tensor) -> None:
        self.moments.add(only_inside(features, self.norm.inside))

    def merge(self, add: Callable[[Tensor], Tensor]) -> None:
        self.moments.merge(add)

    def end_pass(self) -> bool:
        self.norm.fit(self.moments.mean, self.moments.covariance)
        return True


class ChannelNorm(FittedNorm):
    """Each channel to mean 0 and variance 1 over the training set, then fixed."""

    def __init__(self, shape: tuple[int, int, int], config: FlowConfig | None = None) -> None:
        super().__init__(shape, config)
        self.register_buffer("mean", torch.zeros(shape[0]))
        self.register_buffer("std", torch.ones(shape[0]))

    @torch.no_grad()
    def fit(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean.copy_(mean)
        std = covariance.diagonal().clamp_min(0).sqrt()
        self.std.copy_(std.clamp_min(STD_FLOOR * std.max().clamp_min(SMALLEST)))

    def normalise(self, features: Tensor) -> Tensor:
        return (features - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)


class Whitening(FittedNorm):
    """Decorrelated and at variance 1 over the training set, then fixed.

    The flow starts from the Gaussian model of the features instead of having to find it.
    """

    def __init__(self, shape: tuple[int, int, int], config: FlowConfig | None = None) -> None:
        super().__init__(shape, config)
        self.register_buffer("mean", torch.zeros(shape[0]))
        self.register_buffer("matrix", torch.eye(shape[0]))

    @torch.no_grad()
    def fit(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean.copy_(mean)
        self.matrix.copy_(whitening_matrix(covariance))

    def normalise(self, features: Tensor) -> Tensor:
        centred = features - self.mean.view(1, -1, 1, 1)
        return F.conv2d(centred, self.matrix[:, :, None, None])


def whitening_matrix(covariance: Tensor) -> Tensor:
    """covariance^(-1/2), symmetric, float64 (C, C) on the CPU; directions that hardly vary are not blown up."""
    values, vectors = torch.linalg.eigh(covariance.double().cpu())
    values = values.clamp_min((EIGENVALUE_FLOOR * values.mean()).clamp_min(SMALLEST))
    return (vectors * values.rsqrt()) @ vectors.T
