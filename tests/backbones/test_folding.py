"""Batch norms folded into convolutions, channels side by side: the same features, or nothing changed."""

from __future__ import annotations

import torch
from torch import nn

from altub.backbones import Backbone, create_backbone
from altub.backbones.folding import fold_batch_norms, lay_channels_last


def lively(module: nn.Module) -> nn.Module:
    """Statistics and weights of its norms as after a training."""
    torch.manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.5, 2)
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.uniform_(-0.2, 0.2)
    return module


def count(module: nn.Module) -> int:
    return sum(isinstance(norm, nn.BatchNorm2d) for norm in module.modules())


def test_a_resnet_gives_the_same_features_without_its_norms() -> None:
    backbone = lively(create_backbone("resnet18.tv_in1k", (1, 2), pretrained=False, image_size=64))
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        before, norms = backbone(images), count(backbone)
        assert fold_batch_norms(backbone, 64) == norms > 8 and count(backbone) == 0
        for a, b in zip(before, backbone(images), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(a.abs().max()))


def test_a_network_that_does_not_call_its_modules_in_their_order_is_left_alone() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=4, padding=1)
            self.norm = nn.BatchNorm2d(4)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(images).relu())

    backbone = Backbone.from_module(lively(Crossed()), "crossed", image_size=32)
    images = torch.rand(2, 3, 32, 32)
    (before,) = backbone(images)
    assert fold_batch_norms(backbone, 32) == 0 and count(backbone) == 1
    assert torch.equal(backbone(images)[0], before)


def test_channels_side_by_side_give_the_same_features() -> None:
    backbone = lively(create_backbone("resnet18.tv_in1k", (1, 2), pretrained=False, image_size=64))
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        before = backbone(images)
        assert lay_channels_last(backbone, 64)
        for a, b in zip(before, backbone(images), strict=True):
            assert b.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(a.abs().max()))


def test_a_network_that_takes_one_layout_only_is_left_alone() -> None:
    class Strict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=4, padding=1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = self.conv(images)
            return maps.view(len(maps), -1).view(maps.shape)

    backbone = Backbone.from_module(Strict(), "strict", image_size=32)
    images = torch.rand(2, 3, 32, 32)
    (before,) = backbone(images)
    assert not lay_channels_last(backbone, 32)
    assert torch.equal(backbone(images)[0], before)


def test_without_convolutions_there_is_nothing_to_lay() -> None:
    assert not lay_channels_last(create_backbone("filter-bank", image_size=64), 64)
