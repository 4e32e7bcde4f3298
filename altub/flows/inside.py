"""The positions of a feature map that count, where a model looks at a part of the image only."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["at_size", "hide_outside", "only_inside"]


def at_size(inside: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """Bool (H, W) brought to maps of another size, each position taking what holds at the same place of the image."""
    if inside is None or inside.shape == size:
        return inside
    return F.interpolate(inside[None, None].float(), size, mode="nearest-exact")[0, 0] > 0


def hide_outside(maps: Tensor, inside: Tensor | None) -> Tensor:
    """Maps (N, C, H, W) with 0 at all positions outside, whatever was there; None: as they are."""
    inside = at_size(inside, maps.shape[2:])
    return maps if inside is None else maps.masked_fill(~inside, 0.0)


def only_inside(maps: Tensor, inside: Tensor | None) -> Tensor:
    """Of maps (N, C, H, W) the P positions inside, as maps (N, C, P, 1); None: as they are."""
    inside = at_size(inside, maps.shape[2:])
    return maps if inside is None else maps[:, :, inside.to(maps.device)][..., None]
