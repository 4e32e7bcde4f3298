"""A frozen network that only scores images, in a quicker form: the same features to rounding.

In eval mode a batch norm is a fixed scale and offset for each channel, so that it can be part of the convolution's own
weights. Which convolution feeds which norm is taken from the order in which a module holds them. A CPU convolves faster
where the channels of a position lie side by side in memory. Both are checked: where the features of a trial change by
more than rounding, or it fails, the network is left as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from altub.backbones.pyramid import Backbone

__all__ = ["fold_batch_norms", "lay_channels_last", "speed_up"]

TOLERANCE = 1e-4  # of the largest feature; rounding of a deep network in float32 is a tenth of it
TRIAL_IMAGES = 2


def speed_up(backbone: Backbone, image_size: int) -> None:
    """Both of the below, in place: for a backbone that nobody else uses.

    Args:
        image_size: side in pixels that the backbone takes.
    """
    fold_batch_norms(backbone, image_size)
    lay_channels_last(backbone, image_size)


@torch.no_grad()
def fold_batch_norms(backbone: Backbone, image_size: int) -> int:
    """Folds in place; returns how many norms were folded, 0 where the trial says no.

    Args:
        image_size: side in pixels that the backbone takes.
    """
    network = copy.deepcopy(backbone.network)
    pairs = list(_pairs(network))
    for owner, conv, norm in pairs:
        setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
        setattr(owner, norm, nn.Identity())
    return len(pairs) if _replace(backbone, network, image_size) else 0


@torch.no_grad()
def lay_channels_last(backbone: Backbone, image_size: int) -> bool:
    """Puts the channels of a position side by side; False where that brings nothing or the trial says no.

    Args:
        image_size: side in pixels that the backbone takes.
    """
    convolves = any(type(module) is nn.Conv2d for module in backbone.network.modules())
    if backbone.normalise_mean.device.type != "cpu" or not convolves:
        return False
    # The first convolution takes the layout from its weights and hands it on.
    return _replace(backbone, copy.deepcopy(backbone.network).to(memory_format=torch.channels_last), image_size)


def _replace(backbone: Backbone, network: nn.Module, image_size: int) -> bool:
    """Takes the network if it gives the features of the one that is there."""
    device = backbone.normalise_mean.device
    images = torch.rand(TRIAL_IMAGES, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)).to(device)
    wanted = backbone(images)
    before, backbone.network = backbone.network, network.eval().requires_grad_(False)
    try:
        same = all(
            float((a - b).abs().max()) <= TOLERANCE * float(a.abs().max())
            for a, b in zip(wanted, backbone(images), strict=True)
        )
    except RuntimeError:  # a module of one's own that takes one layout only
        same = False
    if not same:
        backbone.network = before
    return same


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Module, name of a convolution in it, and name of the batch norm that it holds next."""
    for owner in network.modules():
        children = list(owner.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            # Exactly these classes: one that is derived from them may do more, such as an activation.
            if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d and conv.out_channels == norm.num_features:
                yield owner, conv_name, norm_name
