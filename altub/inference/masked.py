"""Maps of which only a part counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from altub.inference.regions import inspected_pixels

if TYPE_CHECKING:
    from altub.inference.regions import Region

__all__ = ["inspected_positions", "lowest_outside", "positions_of"]


def inspected_positions(regions: Sequence[Region], side: int, shapes: Sequence[tuple[int, int, int]]) -> list[Tensor]:
    """Where a model looks in the feature maps of whole images: per scale bool (H, W).

    Args:
        side: of the square that images are resized to.
        shapes: (C, H, W) of every scale.
    """
    pixels = torch.from_numpy(inspected_pixels(regions, side, side)).float()[None, None]
    return [positions_of(pixels, shape[1:])[0] for shape in shapes]


def positions_of(pixels: Tensor, size: Sequence[int]) -> Tensor:
    """Pixels (N, 1, S, S) of 0 and 1 as positions, bool (N, H, W): one that has an inspected pixel is inspected."""
    return F.adaptive_max_pool2d(pixels, tuple(size))[:, 0] > 0


def lowest_outside(maps: Tensor, inside: np.ndarray | None) -> Tensor:
    """Maps (N, K, H, W) whose pixels outside have the lowest value inside, for each map by itself.

    Args:
        inside: bool (H, W); None: everything is inside.
    """
    if inside is None:
        return maps
    within = torch.tensor(inside, device=maps.device)
    lowest = torch.where(within, maps, torch.inf).amin((2, 3), keepdim=True)
    return torch.where(within, maps, lowest)
