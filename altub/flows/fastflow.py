"""FastFlow (arXiv:2111.07677): convolutional coupling flows on the maps of a feature pyramid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import FrEIA.framework as Ff
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from altub.flows.config import Kernels, Norm
from altub.flows.coupling import AffineCoupling

__all__ = ["FastFlowHead", "FeatureNorm", "convolution_subnet"]

EIGENVALUE_FLOOR = 1e-2  # of the mean eigenvalue: directions with less variance are noise and stay small


class FastFlowHead(nn.Module):
    """The flow on one scale: a stack of coupling steps whose subnets are two small convolutions.

    Args:
        channels: C of the feature map.
        steps: number of coupling steps (published: 8 for CNN features, 20 for transformers).
        hidden_ratio: hidden channels of a subnet as a share of its input channels.
        kernels: "3x3" in every step, or 3x3 in even and 1x1 in odd steps.
        clamp: bound of the log-scale of one coupling.

    Maps (N, C, H, W) to z (N, C, H, W) and log|det J| (N,), for any H and W.
    """

    def __init__(
        self,
        channels: int,
        *,
        steps: int = 8,
        hidden_ratio: float = 1.0,
        kernels: Kernels = "3x3/1x1",
        clamp: float = 2.0,
    ) -> None:
        super().__init__()
        self.channels = channels
        # FrEIA wants a map size for its bookkeeping; the blocks themselves take any.
        self.flow = Ff.SequenceINN(channels, 1, 1)
        for step in range(steps):
            kernel = 1 if kernels == "3x3/1x1" and step % 2 else 3
            self.flow.append(AffineCoupling, subnet_constructor=convolution_subnet(kernel, hidden_ratio), clamp=clamp)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.flow(features)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (N, C, H, W) to features (N, C, H, W) and the log-determinant of the inverse (N,)."""
        return self.flow(z, rev=True)


def convolution_subnet(kernel: int, hidden_ratio: float) -> Callable[[int, int], nn.Module]:
    """A constructor of the subnets: two convolutions that keep the map size, a ReLU between them."""

    def build(in_channels: int, out_channels: int) -> nn.Module:
        hidden = max(int(in_channels * hidden_ratio), 1)
        return nn.Sequential(
            nn.Conv2d(in_channels, hidden, kernel, padding="same"),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, out_channels, kernel, padding="same"),
        )

    return build


class FeatureNorm(nn.Module):
    """Brings feature maps to unit scale before the flow. Not part of the flow: its determinant does not count.

    "layer": each image's map to mean 0 and variance 1 over (C, H, W), without parameters. Any input size runs; an
        affine part was found to make training less stable by AltUB's first author.
    "layer-affine": the published LayerNorm([C, H, W]) with its trainable gain and offset per position. At another
        input size they are interpolated.
    "channel": each channel to mean 0 and variance 1 over the training set (`fit`), then fixed.
    "whiten": decorrelated and at variance 1 over the training set (`fit`), then fixed: the flow starts from the
        Gaussian model of the features instead of having to find it.
    "none": features as they are.
    """

    def __init__(self, kind: Norm, shape: Sequence[int]) -> None:
        super().__init__()
        self.kind = kind
        channels = shape[0]
        if kind == "layer-affine":
            self.weight = nn.Parameter(torch.ones(*shape))
            self.bias = nn.Parameter(torch.zeros(*shape))
        elif kind == "channel":
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("std", torch.ones(channels))
        elif kind == "whiten":
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("matrix", torch.eye(channels))

    @property
    def is_trainable(self) -> bool:
        return self.kind == "layer-affine"

    @property
    def needs_fit(self) -> bool:
        return self.kind in ("channel", "whiten")

    @torch.no_grad()
    def fit(self, mean: Tensor, covariance: Tensor) -> None:
        """Sets the constants of "channel" and "whiten" from the training features' mean (C,) and covariance (C, C)."""
        self.mean.copy_(mean)
        if self.kind == "channel":
            std = covariance.diagonal().clamp_min(0).sqrt()
            self.std.copy_(std.clamp_min(1e-3 * std.max().clamp_min(1e-12)))  # dead channels stay small
        else:
            values, vectors = torch.linalg.eigh(covariance.double().cpu())
            values = values.clamp_min((EIGENVALUE_FLOOR * values.mean()).clamp_min(1e-12))
            self.matrix.copy_((vectors * values.rsqrt()) @ vectors.T)

    def forward(self, features: Tensor) -> Tensor:
        if self.kind == "layer":
            return F.layer_norm(features, features.shape[1:])
        if self.kind == "channel":
            return (features - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)
        if self.kind == "whiten":
            centred = features - self.mean.view(1, -1, 1, 1)
            return F.conv2d(centred, self.matrix[:, :, None, None])
        if self.kind == "layer-affine":
            weight, bias = self.weight, self.bias
            if features.shape[1:] != weight.shape:
                size = features.shape[2:]
                weight = F.interpolate(weight[None], size, mode="bilinear", align_corners=False)[0]
                bias = F.interpolate(bias[None], size, mode="bilinear", align_corners=False)[0]
            return F.layer_norm(features, features.shape[1:], weight, bias)
        return features
