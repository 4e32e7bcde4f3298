"""Features of today brought to where the features of the training lay, by a map in front of a fitted norm.

Light, camera and material change features more or less alike on every image: channels become stronger or weaker, or
mix. An affine map x -> A x + b that gives today's good images the mean and covariance of the training's undoes that
without touching the flow. It is folded into the norm's own constants, so that a model which was aligned has the same
tensors as one that was not.

    channel    A is diagonal: the mean and standard deviation of every channel
    full       A is the optimal transport map between the two Gaussians: mean and covariance
    position   channel, and the mean of every position moved as far as today's images show more than their noise

Sources: AdaBN (arXiv:1603.04779) for moments per channel, CORAL (arXiv:1511.05547) for covariances; of all maps between
two covariances the transport map moves features least. How far means move is James and Stein's estimator (1961).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from altub.flows.inside import only_inside
from altub.flows.norms import EIGENVALUE_FLOOR, SMALLEST, STD_FLOOR, ChannelNorm, FeatureNorm, Whitening
from altub.flows.position_norm import PositionWhitening

__all__ = ["ALIGNMENTS", "Alignment", "FeatureSums", "align_norm", "alignments_of", "mean_distance", "training_moments"]

Alignment = Literal["channel", "full", "position"]
ALIGNMENTS: tuple[Alignment, ...] = ("channel", "full", "position")

COVARIANCE_PRIOR = 8  # of n images the covariance counts n / (n + 8), the rest is the training's, by channel


class FeatureSums:
    """Sums over images from which an alignment follows; those of several parts add up, in float64.

    Args:
        shape: (C, H, W) of one scale.
        inside: bool (H, W), the positions that moments are taken of; None: all.

    Example:
        >>> import torch
        >>> sums = FeatureSums((2, 3, 3))
        >>> sums.add(torch.ones(4, 2, 3, 3))
        >>> sums.images, sums.mean.tolist()
        (4, [1.0, 1.0])
    """

    def __init__(self, shape: Sequence[int], device: torch.device | str = "cpu", inside: Tensor | None = None) -> None:
        channels = shape[0]
        self.images, self.inside = 0, inside
        self.by_position = torch.zeros(*shape, dtype=torch.float64, device=device)
        self.products = torch.zeros(channels, channels, dtype=torch.float64, device=device)

    def add(self, features: Tensor) -> None:
        """Features (N, C, H, W) of some more images."""
        rows = only_inside(features, self.inside).transpose(0, 1).flatten(1)
        self.images += len(features)
        self.by_position += features.sum(0, dtype=torch.float64)
        self.products += (rows @ rows.T).double()

    def __add__(self, other: FeatureSums) -> FeatureSums:
        total = FeatureSums(self.by_position.shape, self.products.device, self.inside)
        for part in (self, other):
            total.images += part.images
            total.by_position += part.by_position
            total.products += part.products
        return total

    @property
    def position_means(self) -> Tensor:
        """(C, H, W)."""
        return self.by_position / self.images

    @property
    def mean(self) -> Tensor:
        """(C,) over images and positions."""
        return self._rows.mean(1)

    @property
    def covariance(self) -> Tensor:
        """(C, C) over images and positions."""
        return self.products / (self.images * self._rows.shape[1]) - self.mean[:, None] * self.mean

    @property
    def residual_covariance(self) -> Tensor:
        """(C, C) of what remains around each position's own mean; unbiased, and 0 of a single image."""
        rows = self._rows
        between = rows @ rows.T / rows.shape[1]
        within = self.products / (self.images * rows.shape[1]) - between
        return within * (self.images / max(self.images - 1, 1))

    @property
    def _rows(self) -> Tensor:
        """(C, P): the means of the positions that count."""
        return only_inside(self.position_means[None], self.inside)[0].flatten(1)


def alignments_of(norm: FeatureNorm) -> tuple[Alignment, ...]:
    """The alignments that can be folded into a norm of this kind; none where it keeps no moments of the training."""
    if isinstance(norm, PositionWhitening):
        return ALIGNMENTS
    if isinstance(norm, Whitening):
        return ("channel", "full")
    return ("channel",) if isinstance(norm, ChannelNorm) else ()


@torch.no_grad()
def align_norm(norm: FeatureNorm, sums: FeatureSums, kind: Alignment) -> None:
    """Folds the alignment of today's features, known by their sums, into a norm.

    Raises:
        ValueError: `kind` is not among `alignments_of(norm)`.
    """
    if kind not in alignments_of(norm):
        raise ValueError(f"{type(norm).__name__} has no alignment {kind!r}")
    mean, variances = training_moments(norm)
    scale = _ratio(variances, sums.covariance.diagonal().cpu())
    if kind == "full":
        wanted = torch.linalg.inv(norm.matrix.double().cpu())
        wanted = wanted @ wanted.T
        share = sums.images / (sums.images + COVARIANCE_PRIOR)
        as_trained = wanted / (scale[:, None] * scale)
        matrix = _transport(share * _as_whitened(norm, sums) + (1 - share) * as_trained, wanted)
    else:
        matrix = torch.diag(scale)
    _precede(norm, matrix, mean - matrix @ sums.mean.cpu())
    if kind == "position":
        _move_means(norm, sums)


def training_moments(norm: FeatureNorm) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) of every channel over the training, as the norm keeps them: float64 on the CPU."""
    mean = norm.mean.double().cpu()
    if isinstance(norm, ChannelNorm):
        return mean, norm.std.double().cpu().square()
    variances = torch.linalg.inv(norm.matrix.double().cpu()).square().sum(1)
    if isinstance(norm, PositionWhitening):  # its matrix whitens what remains around each position's mean
        rows = only_inside(mean[None], norm.inside)[0].flatten(1)
        return rows.mean(1), variances + rows.var(1, correction=0)
    return mean, variances


def _as_whitened(norm: FeatureNorm, sums: FeatureSums) -> Tensor:
    """Today's covariance (C, C) with weak directions held off 0 as in the norm's own fit, so that both compare."""
    if isinstance(norm, PositionWhitening):
        covariance = sums.residual_covariance.cpu()
        std = covariance.diagonal().clamp_min(0).sqrt()
        std = std.clamp_min((STD_FLOOR * std.max()).clamp_min(SMALLEST))
        return _floored(covariance / (std[:, None] * std)) * (std[:, None] * std)
    return _floored(sums.covariance.cpu())


def _floored(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    values = values.clamp_min((EIGENVALUE_FLOOR * values.mean()).clamp_min(SMALLEST))
    return (vectors * values) @ vectors.T


def _precede(norm: FeatureNorm, matrix: Tensor, offset: Tensor) -> None:
    """Makes the norm see A x + b in place of x: W (A x + b - m) = (W A) (x - A^-1 (m - b))."""
    rows = norm.mean.double().cpu().view(len(offset), -1) - offset[:, None]
    norm.mean.copy_(torch.linalg.solve(matrix, rows).view(norm.mean.shape))
    if isinstance(norm, ChannelNorm):
        norm.std.copy_(norm.std.double().cpu() / matrix.diagonal())
    else:
        norm.matrix.copy_(norm.matrix.double().cpu() @ matrix)
    _forget(norm)


def _move_means(norm: PositionWhitening, sums: FeatureSums) -> None:
    """Moves every position's mean towards today's: by the share of their squared distance that is not noise.

    Of n images a mean has the variance of an image over n. Where the images look like the training's, the distance is
    that and nothing moves; where it is larger, the rest was a real change.
    """
    distance, noise = mean_distance(norm, sums)
    share = min(max(1 - noise / max(distance, 1e-12), 0.0), 1.0)
    step = sums.position_means.cpu() - norm.mean.double().cpu()
    norm.mean.add_((share * step).to(norm.mean))
    _forget(norm)


@torch.no_grad()
def mean_distance(norm: PositionWhitening, sums: FeatureSums) -> tuple[float, float]:
    """Mean squared distance of today's position means from the norm's, in units of the variance that a position has,
    and how much of it is expected as noise of that many images."""
    matrix = norm.matrix.double().cpu()
    step = only_inside((sums.position_means.cpu() - norm.mean.double().cpu())[None], norm.inside)[0]
    noise = torch.trace(matrix @ sums.residual_covariance.cpu() @ matrix.T) / len(matrix) / sums.images
    return float((matrix @ step.flatten(1)).square().mean()), float(noise)


def _forget(norm: FeatureNorm) -> None:
    if isinstance(norm, PositionWhitening):
        norm.forget_constants()


def _ratio(wanted: Tensor, found: Tensor) -> Tensor:
    """Standard deviation over standard deviation, from variances (C,); 1 where a channel does not vary."""
    floor = STD_FLOOR**2
    alive = (wanted > floor * wanted.max()) & (found > floor * found.max())
    return torch.where(alive, (wanted / found.clamp_min(1e-300)).clamp_min(0).sqrt(), torch.ones_like(wanted))


def _transport(source: Tensor, target: Tensor) -> Tensor:
    """The symmetric A with A source A = target: s^(-1/2) (s^(1/2) target s^(1/2))^(1/2) s^(-1/2), s the source."""
    root, inverse = _roots(source)
    middle, _ = _roots(root @ target @ root)
    return inverse @ middle @ inverse


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The square root of a covariance and its inverse."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    values = values.clamp_min(SMALLEST).sqrt()
    return (vectors * values) @ vectors.T, (vectors / values) @ vectors.T
