"""FastFlow (arXiv:2111.07677): convolutional coupling flows on the maps of a feature pyramid."""

from __future__ import annotations

from collections.abc import Callable

import FrEIA.framework as Ff
from torch import Tensor, nn

from altub.flows.config import FlowConfig
from altub.flows.coupling import AffineCoupling
from altub.flows.head import FlowHead

__all__ = ["FastFlowHead", "convolution_subnet"]


class FastFlowHead(FlowHead):
    """The flow on one scale: a stack of coupling steps whose subnets are two small convolutions.

    Args:
        config: `steps` coupling steps (published: 8 for CNN features, 20 for transformers); `hidden_ratio`, hidden
            channels of a subnet as a share of its input channels; `kernels`, "3x3" in every step, or 3x3 in even and
            1x1 in odd steps; `clamp`, bound of the log-scale of one coupling.
        shape: (C, H, W) of the feature maps; any H and W runs.
    """

    def __init__(self, config: FlowConfig, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        # FrEIA wants a map size for its bookkeeping; the blocks themselves take any.
        self.flow = Ff.SequenceINN(self.channels, 1, 1)
        for step in range(config.steps):
            kernel = 1 if config.kernels == "3x3/1x1" and step % 2 else 3
            subnet = convolution_subnet(kernel, config.hidden_ratio)
            self.flow.append(AffineCoupling, subnet_constructor=subnet, clamp=config.clamp)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.flow(features)

    def transform(self, features: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = features, features.new_zeros(())
        for step in self.flow:
            z, of_step = step.transform(z)
            log_det = log_det + of_step
        return z, log_det

    def log_det_map(self, features: Tensor) -> Tensor:
        return self.transform(features)[1]

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
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
