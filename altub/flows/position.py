"""Where a position lies in a feature map, as numbers that the subnets of a flow can be given as a condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["position_code"]

LONGEST_WAVE = 10_000.0  # of the code, in positions over 2 pi; "Attention is all you need", section 3.5


def position_code(
    channels: int, size: tuple[int, int], trained: tuple[int, int], device: torch.device | str = "cpu"
) -> Tensor:
    """Sines and cosines of a position at channels / 4 wavelengths: (channels, H, W).

    The first half tells the column, the second half the row. Columns and rows are counted on the map of the `trained`
    size (H, W), onto which a map of another `size` is stretched: a part of an image keeps its place.

    Source: the public code of CFLOW-AD (arXiv:2107.12571).
    """
    if channels % 4:
        raise ValueError(f"A position code has a multiple of 4 channels, not {channels}.")
    half = channels // 2
    rates = torch.exp(torch.arange(0, half, 2, device=device) * (-math.log(LONGEST_WAVE) / half))
    rows, columns = (
        (torch.arange(now, device=device) + 0.5) * (before / now) - 0.5
        for now, before in zip(size, trained, strict=True)
    )

    def waves(positions: Tensor) -> Tensor:
        angles = rates[:, None] * positions  # (half / 2, positions)
        return torch.stack((angles.sin(), angles.cos()), dim=1).flatten(0, 1)

    return torch.cat(
        (waves(columns)[:, None, :].expand(half, *size), waves(rows)[:, :, None].expand(half, *size)), dim=0
    )
