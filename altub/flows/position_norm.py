"""Whitening that knows where in the image it is: a Gaussian for every position of the feature map.

Parts lie in their pictures more or less alike. What is usual at one place (the background, an edge) is a defect at
another, and a norm with one mean and one covariance for all positions throws that away. PaDiM (arXiv:2011.08785) fits
a Gaussian to every position, which needs a C x C matrix each and as many images as channels. Here each position has its
own mean, and a covariance half its own and half that of all positions, so that few images suffice; what is its own is
kept as its strongest directions, which is a fraction of the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from altub.device import Workers
from altub.flows.inside import hide_outside, only_inside
from altub.flows.norms import SMALLEST, STD_FLOOR, FittedNorm, Moments, NormFit, whitening_matrix

if TYPE_CHECKING:
    from altub.flows.config import FlowConfig

__all__ = ["PositionWhitening"]

WINDOW = (0.1065, 0.787, 0.1065)  # a Gaussian of sigma 0.5 over a position and its neighbours: more samples, same place
FIT_BYTES = 1 << 30  # covariances worked on at a time; more positions than fit take another pass over the images
PRIOR_IMAGES = 30  # of few images a position's own covariance is not known: n of them count n / (n + 30); measured


class PositionWhitening(FittedNorm):
    """Decorrelated and at variance 1 around each position's own mean, by a covariance that is partly its own.

    With m_p the mean at position p over the training images and W the whitening of the residuals x_p - m_p of all
    positions, a = W (x - m_p) is at unit covariance on the whole, but not at any one place. There its covariance is
    taken as

        S_p = (1 - w) I + w cov_p(a),     z = S_p^(-1/2) a,

    cov_p over the training images and, lightly, over the neighbouring positions. Of cov_p its `rank` largest
    eigenvalues are kept; the rest count by their mean.

    Args:
        shape: (C, H, W) at the training size. At another size a position takes what is known of the same place of the
            image.
        config: `position_weight` is w, reduced where training images are few; `position_rank` is the rank.

    Source: ours; the Gaussian per position is PaDiM's (arXiv:2011.08785).
    """

    def __init__(self, shape: tuple[int, int, int], config: FlowConfig) -> None:
        super().__init__(shape, config)
        channels, height, width = shape
        rank = min(config.position_rank, channels)
        self.weight = config.position_weight
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("matrix", torch.eye(channels))
        self.register_buffer("vectors", torch.zeros(height, width, channels, rank, dtype=torch.float16))
        self.register_buffer("gains", torch.zeros(height, width, rank))  # lambda^(-1/2) - tau^(-1/2)
        self.register_buffer("rest", torch.ones(height, width))  # tau^(-1/2)
        self._in_use: tuple[tuple[int, int, int], Tensor, Tensor, Tensor, Tensor] | None = None

    def start_fit(self) -> NormFit:
        return _PositionFit(self)

    def normalise(self, features: Tensor) -> Tensor:
        count, channels, height, width = features.shape
        mean, vectors, gains, rest = self._at(height, width)
        # A small matrix product for every position, (positions, images, channels): with images as columns it takes 2 to
        # 8 times as long on a CPU.
        rows = (features - mean).permute(2, 3, 0, 1).reshape(-1, channels) @ self.matrix.T
        rows = rows.view(height * width, count, channels)
        own = torch.bmm(rows, vectors).mul_(gains)
        z = torch.baddbmm(rows * rest.reshape(-1, 1, 1), own, vectors.transpose(1, 2))
        return z.view(height, width, count, channels).permute(2, 3, 0, 1).contiguous()

    def _at(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Constants in float32 for maps of this size: (C, h, w), (h w, C, rank), (h w, 1, rank), (h, w)."""
        if torch.compiler.is_compiling():
            return self._stretched(height, width)
        key = (height, width, self.vectors._version)
        kept = self._in_use
        if kept is not None and kept[0] == key and kept[1].device == self.mean.device:
            return kept[1:]
        found = self._stretched(height, width)
        self._in_use = (key, *found)
        return found

    def _stretched(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`_at`, computed."""
        mean, vectors, gains, rest = self.mean, self.vectors, self.gains, self.rest
        if mean.shape[1:] != (height, width):
            mean = F.interpolate(mean[None], (height, width), mode="bilinear", align_corners=False)[0]
            rows, columns = (
                ((torch.arange(now, device=mean.device) + 0.5) * (before / now)).long()
                for now, before in zip((height, width), rest.shape, strict=True)
            )
            vectors, gains, rest = (values[rows][:, columns] for values in (vectors, gains, rest))
        return mean, vectors.flatten(0, 1).float(), gains.flatten(0, 1)[:, None], rest

    def forget_constants(self) -> None:
        """To be called after the mean or the matrix were changed from outside."""
        self._in_use = None

    def _apply(self, function: Any, recurse: bool = True) -> PositionWhitening:
        self.forget_constants()
        return super()._apply(function, recurse)


class _PositionFit(NormFit):
    """First pass: means and the covariance of all residuals. Then passes for the covariance of each position."""

    def __init__(self, norm: PositionWhitening) -> None:
        self.norm = norm
        self.moments: _PositionMoments | None = _PositionMoments(norm.mean)
        self.images = 0
        self.first_row = 0
        self.covariances: Tensor | None = None

    def observe(self, features: Tensor) -> None:
        if self.moments is not None:
            self.moments.add(features, self.norm.inside)
            return
        norm, (low, high) = self.norm, self._rows()
        white = F.conv2d(features - norm.mean, norm.matrix[:, :, None, None])
        white = hide_outside(white, norm.inside)[:, :, low:high]
        columns = white.permute(2, 3, 1, 0).flatten(0, 1)
        self.covariances.baddbmm_(columns, columns.transpose(1, 2))

    def merge(self, add: Callable[[Tensor], Tensor]) -> None:
        if self.moments is not None:
            self.moments.merge(add)
        else:
            self.covariances = add(self.covariances)

    @torch.no_grad()
    def end_pass(self) -> bool:
        norm = self.norm
        if self.moments is not None:
            self.images = self.moments.images
            mean, covariance = self.moments.result(norm.inside)
            norm.mean.copy_(mean)
            norm.matrix.copy_(_scaled_whitening(covariance))
            self.moments = None
        else:
            self._set_rows()
            self.first_row = self._last_row()
        if self.first_row >= norm.rest.shape[0] or norm.weight == 0 or self.images < 2:
            return True
        low, high = self._rows()
        channels, width = norm.mean.shape[0], norm.mean.shape[2]
        self.covariances = torch.zeros((high - low) * width, channels, channels, device=norm.mean.device)
        return False

    def _last_row(self) -> int:
        channels, height, width = self.norm.mean.shape
        return min(self.first_row + max(FIT_BYTES // (4 * width * channels * channels), 1), height)

    def _rows(self) -> tuple[int, int]:
        """The rows of this pass with their neighbours."""
        return max(self.first_row - 1, 0), min(self._last_row() + 1, self.norm.rest.shape[0])

    def _set_rows(self) -> None:
        """Turns the covariances of this pass into directions and gains."""
        norm, (low, high) = self.norm, self._rows()
        channels, rank = norm.vectors.shape[2:]
        width = norm.rest.shape[1]
        own = _smooth(self.covariances.view(high - low, width, -1) / (self.images - 1))
        if norm.inside is not None:  # neighbours outside know nothing: the weights of the others add up to 1
            share = _smooth(norm.inside[low:high, :, None].float())
            own = torch.where(norm.inside[low:high, :, None], own / share.clamp_min(SMALLEST), 0.0)
        self.covariances = None
        weight = norm.weight * self.images / (self.images + PRIOR_IMAGES)

        def directions(row: int) -> tuple[int, Tensor, Tensor]:
            return row, *_eigen(own[row - low].view(width, channels, channels).cpu())

        with closing(Workers(torch.device("cpu"))) as workers:
            for row, values, vectors in workers.map(directions, range(self.first_row, self._last_row())):
                values = values.clamp_min(0)
                rest = (values.sum(1) - values[:, channels - rank :].sum(1)) / max(channels - rank, 1)
                tau = (1 - weight) + weight * (rest if rank < channels else torch.ones_like(rest))
                strongest = (1 - weight) + weight * values[:, channels - rank :]
                norm.rest[row] = tau.rsqrt()
                norm.gains[row] = strongest.rsqrt() - tau.rsqrt()[:, None]
                norm.vectors[row] = vectors[:, :, channels - rank :].half()


def _eigen(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """`torch.linalg.eigh` of float32. Where that does not converge, in float64: with channels that hardly move on a few
    images some CPUs' LAPACK gives up."""
    try:
        return torch.linalg.eigh(matrices)
    except torch.linalg.LinAlgError:
        values, vectors = torch.linalg.eigh(matrices.double())
        return values.float(), vectors.float()


class _PositionMoments:
    """Mean per position and covariance of what remains, in float64 from one pass."""

    def __init__(self, like: Tensor) -> None:
        self.images = 0
        self.sums = torch.zeros_like(like, dtype=torch.float64)
        self.all = Moments()

    def add(self, features: Tensor, inside: Tensor | None) -> None:
        self.images += len(features)
        self.sums += features.sum(0, dtype=torch.float64)
        self.all.add(only_inside(features, inside))

    def merge(self, add: Callable[[Tensor], Tensor]) -> None:
        self.images = int(add(torch.tensor(float(self.images), dtype=torch.float64)))
        self.sums = add(self.sums)
        self.all.merge(add)

    def result(self, inside: Tensor | None) -> tuple[Tensor, Tensor]:
        """(C, H, W) and (C, C), float64; the covariance of the positions inside."""
        mean = self.sums / self.images
        rows = only_inside(mean[None], inside)[0].flatten(1)
        return mean, self.all.second_moment - rows @ rows.T / rows.shape[1]


def _scaled_whitening(covariance: Tensor) -> Tensor:
    """The whitening of (C, C) by way of the correlations, so that quiet channels are no less exact than loud ones."""
    std = covariance.diagonal().clamp_min(0).sqrt()
    std = std.clamp_min((STD_FLOOR * std.max()).clamp_min(SMALLEST))
    return whitening_matrix(covariance / (std[:, None] * std)) / std.to(covariance.device)


def _smooth(values: Tensor) -> Tensor:
    """Weighted mean of (H, W, ...) over each position and its neighbours inside the map."""
    for dimension in (0, 1):
        values = _smooth_along(values, dimension)
    return values


def _smooth_along(values: Tensor, dimension: int) -> Tensor:
    side, centre, _ = WINDOW
    length = values.shape[dimension]
    total = values * centre
    weights = torch.full((length,), centre, device=values.device)
    for start, stop in _shifts(length):
        total.narrow(dimension, stop, length - 1).add_(values.narrow(dimension, start, length - 1), alpha=side)
        weights[stop : stop + length - 1] += side
    return total.div_(weights.view(*[1] * dimension, -1, *[1] * (values.dim() - dimension - 1)))


def _shifts(length: int) -> Iterator[tuple[int, int]]:
    """Where a neighbour's values are read from and written to: the one before, the one after."""
    if length > 1:
        yield 0, 1
        yield 1, 0
