"""FastFlow (arXiv:2111.07677): convolutional coupling flows on the maps of a feature pyramid."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from altub.flows.config import FlowConfig
from altub.flows.coupling import coupling_step
from altub.flows.freia import SequenceINN
from altub.flows.head import FlowHead
from altub.flows.position import position_code
from altub.flows.recompute import run_steps
from altub.flows.subnet import ConvolutionSubnet

__all__ = ["FastFlowHead", "convolution_subnet"]


class FastFlowHead(FlowHead):
    """The flow on one scale: a stack of coupling steps whose subnets are two small convolutions.

    Args:
        config: `steps` coupling steps (published: 8 for CNN features, 20 for transformers); `hidden_ratio`, hidden
            channels of a subnet as a share of its input channels; `kernels`, "3x3" in every step, or 3x3 in even and
            1x1 in odd steps; `coupling`; `clamp`, bound of the log-scale of an affine one; `position_code`, channels
            that tell the subnets where they are (:func:`~altub.flows.position.position_code`; published: 0, none).
            They widen the subnets' input, not their hidden layer.
        shape: (C, H, W) of the feature maps; any H and W runs. The position code is stretched to the size.
    """

    takes_regions = True
    recomputes = True

    def __init__(self, config: FlowConfig, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        # FrEIA wants a map size for its bookkeeping; the blocks themselves take any.
        self.flow = SequenceINN(self.channels, 1, 1)
        for step in range(config.steps):
            kernel = 1 if config.kernels == "3x3/1x1" and step % 2 else 3
            subnet = convolution_subnet(kernel, config.hidden_ratio, config.position_code)
            code = {"cond": 0, "cond_shape": (config.position_code, 1, 1)} if config.position_code else {}
            self.flow.append(coupling_step(config), **code, subnet_constructor=subnet)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return run_steps(self.flow, features, self._code(features), recompute=self.recompute)

    def transform(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return run_steps(self.flow, features, self._code(features), by_position=True, recompute=self.recompute)

    def log_det_map(self, features: Tensor) -> Tensor:
        return self.transform(features)[1]

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.flow(z, c=[self._code(z)], rev=True)

    def _code(self, maps: Tensor) -> Tensor | None:
        """The position code of every image: (N, position_code, H, W); None without one."""
        channels = self.config.position_code
        if not channels:
            return None
        return position_code(channels, maps.shape[2:], self.size, maps.device).expand(len(maps), -1, -1, -1)


def convolution_subnet(kernel: int, hidden_ratio: float, condition: int = 0) -> Callable[[int, int], nn.Module]:
    """A constructor of the subnets: two convolutions that keep the map size, a ReLU between them.

    Args:
        kernel: side of the kernels.
        hidden_ratio: hidden channels as a share of those input channels that are no condition.
        condition: how many of the input channels are a condition.
    """

    def build(in_channels: int, out_channels: int) -> nn.Module:
        hidden = max(int((in_channels - condition) * hidden_ratio), 1)
        return ConvolutionSubnet(in_channels, hidden, out_channels, kernel)

    return build
