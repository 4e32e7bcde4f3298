"""CFLOW-AD (arXiv:2107.12571): coupling flows over single positions of a feature map, told where they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import FrEIA.framework as Ff
import torch
from torch import Tensor, nn

from altub.flows.config import Permutation
from altub.flows.coupling import AffineCoupling

__all__ = ["CFlowHead", "position_code"]

LONGEST_WAVE = 10_000.0  # of the position code, in positions over 2 pi; "Attention is all you need", section 3.5
ROWS_AT_A_TIME = 4096  # fibres per pass where nothing is learned; bounds the memory, whatever the size of the map


class CFlowHead(nn.Module):
    """The flow on one scale. The C features of one position (a fibre) are mapped by themselves.

    Where the position lies is the condition of every coupling step; nothing else of the map is seen.

    Args:
        channels: C of the feature map.
        size: (H, W) of the map in training. At another size the positions are stretched to this one.
        steps: number of coupling steps.
        hidden_ratio: hidden units of a subnet as a multiple of its inputs, C/2 + condition.
        condition: channels of the position code, a multiple of 4.
        clamp: bound of the log-scale of one coupling.
        permutation: between the steps; "soft" was published, "hard" halves the file.

    Maps (N, C, H, W) to z (N, C, H, W) and log|det J| (N,), for any H and W.

    Attributes:
        offset: () float32, the least energy (nats per dimension) of a position in good images; set by training.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        steps: int = 8,
        hidden_ratio: float = 2.0,
        condition: int = 128,
        clamp: float = 1.9,
        permutation: Permutation = "hard",
    ) -> None:
        super().__init__()
        self.channels, self.size, self.condition = channels, tuple(size), condition
        self.flow = Ff.SequenceINN(channels)
        for _ in range(steps):
            self.flow.append(
                AffineCoupling,
                cond=0,
                cond_shape=(condition,),
                subnet_constructor=_subnet(hidden_ratio),
                clamp=clamp,
                permutation=permutation,
            )
        self.register_buffer("offset", torch.zeros(()))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.forward_map(features)
        return z, log_det.sum((1, 2))

    def forward_map(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """z (N, C, H, W) and each position's own log|det J| (N, H, W)."""
        return self._by_position(features, rev=False)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (N, C, H, W) to features (N, C, H, W) and the log-determinant of the inverse (N,)."""
        features, log_det = self._by_position(z, rev=True)
        return features, log_det.sum((1, 2))

    def forward_fibres(self, fibres: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Fibres (M, C) at positions with these codes (M, condition) to z (M, C) and log|det J| (M,)."""
        return self.flow(fibres, c=[codes])

    def codes(self, height: int, width: int) -> Tensor:
        """The condition of every position, row by row: (H * W, condition)."""
        code = position_code(self.condition, (height, width), self.size, self.offset.device)
        return code.flatten(1).T.contiguous()

    def _by_position(self, maps: Tensor, rev: bool) -> tuple[Tensor, Tensor]:
        count, channels, height, width = maps.shape
        codes = self.codes(height, width).to(maps.dtype)
        # One image after the other: its numbers then do not even differ by rounding between batches.
        images = [self._fibre_pieces(image.flatten(1).T.contiguous(), codes, rev) for image in maps]
        out = torch.stack([rows.T for rows, _ in images]).reshape(count, channels, height, width)
        return out, torch.stack([log_det for _, log_det in images]).reshape(count, height, width)

    def _fibre_pieces(self, rows: Tensor, codes: Tensor, rev: bool) -> tuple[Tensor, Tensor]:
        pieces = zip(rows.split(ROWS_AT_A_TIME), codes.split(ROWS_AT_A_TIME), strict=True)
        mapped = [self.flow(fibres, c=[code], rev=rev) for fibres, code in pieces]
        return torch.cat([out for out, _ in mapped]), torch.cat([log_det for _, log_det in mapped])


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


def _subnet(hidden_ratio: float) -> Callable[[int, int], nn.Module]:
    def build(in_channels: int, out_channels: int) -> nn.Module:
        hidden = max(int(in_channels * hidden_ratio), 1)
        return nn.Sequential(nn.Linear(in_channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out_channels))

    return build
