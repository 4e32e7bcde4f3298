"""Maps of which only a part counts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["lowest_outside"]


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
