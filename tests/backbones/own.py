"""A backbone of a user's own: a small network with random weights that a seed fixes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from altub.backbones import register_backbone, registry

OWN = "own-network"


class OwnNetwork(nn.Module):
    """Two maps at strides 4 and 8, from a network with batch norm and dropout, which only rest in eval mode."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem = nn.Sequential(nn.Conv2d(3, 6, 5, stride=4, padding=2), nn.BatchNorm2d(6), nn.ReLU())
            self.deeper = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(6, 10, 3, stride=2, padding=1), nn.ReLU())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        shallow = self.stem(images)
        return shallow, self.deeper(shallow)


@contextmanager
def registered_backbone(seed: int = 0) -> Iterator[None]:
    """OWN is a registered backbone inside the block."""
    register_backbone(OWN, lambda: OwnNetwork(seed), title="My network")
    try:
        yield
    finally:
        registry._registered.pop(OWN, None)
