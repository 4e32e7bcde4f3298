"""A flow of a user's own: as small as one can be, with a setting that FlowConfig does not know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from altub.flows import FlowConfig, FlowHead, register_flow, registry

OWN = "own-affine"


class OwnHead(FlowHead):
    """z = arsinh(slope * (gain * x + offset)) per channel: invertible, not linear, no couplings."""

    def __init__(self, config: FlowConfig, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.slope = float(config.options.get("slope", 1.0))
        self.log_gain = nn.Parameter(torch.zeros(self.channels, 1, 1))
        self.offset_of_channel = nn.Parameter(torch.zeros(self.channels, 1, 1))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        u = self.slope * (features * self.log_gain.exp() + self.offset_of_channel)
        log_slope = torch.tensor(self.slope).log() + self.log_gain - 0.5 * (1 + u.square()).log()
        return torch.asinh(u), log_slope.flatten(1).sum(1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        features = (torch.sinh(z) / self.slope - self.offset_of_channel) * (-self.log_gain).exp()
        return features, -self(features)[1]


@contextmanager
def registered_flow() -> Iterator[None]:
    """OWN is a registered kind inside the block."""
    register_flow(OWN, OwnHead, title="My flow", paper=None, settings=("steps",), usual_lr=1e-2)
    try:
        yield
    finally:
        registry._flows.pop(OWN, None)
