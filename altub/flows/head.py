"""What a flow must be able to do on one scale of a feature pyramid; no caller asks which flow it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from altub.flows.inside import at_size

if TYPE_CHECKING:
    from altub.flows.base import DiagonalGaussian
    from altub.flows.config import FlowConfig
    from altub.flows.norms import FeatureNorm

__all__ = ["FlowHead", "Microbatch", "Precision", "Update", "microbatch_size"]

MICROBATCH_VALUES = 1 << 21  # of x in one backward pass on a CPU: the same gradient from tensors that fit its caches
FEWEST_IMAGES, MOST_IMAGES = 8, 16  # a microbatch; small matrices waste a core, and several cores share one batch

Precision = Callable[[], AbstractContextManager]  # gives the autocast context of a forward pass
Microbatch = Callable[[], tuple[Tensor, Tensor]]
"""Computes a part of an update: (what is minimised, the part's summed negative log-likelihood in nats without its
graph). The gradients of an update's microbatches add up, so each has its share of the mean."""
Update = Sequence[Microbatch]
"""The microbatches of one optimiser step; they may run side by side."""


class FlowHead(nn.Module, ABC):
    """A flow on one scale: maps features (N, C, H, W) to z of the same shape, invertibly.

    A head of your own needs `__init__`, `forward` and `inverse`; the rest has defaults that suit any flow over whole
    maps. `transform` and `log_det_map` tell its likelihood by position. :func:`altub.flows.register_flow` makes it
    known by a name.

    Args:
        config: settings; a head of your own may keep further ones in `config.options`.
        shape: (C, H, W) of the feature maps in training. Maps of another H and W may follow in use.

    Attributes:
        needs_calibration: whether :meth:`calibrate` wants to see the energies of held-out images after every epoch.
        takes_regions: whether `nll` and `train_batch` heed `inside`. They do by default in a head that has
            `log_det_map` and trains on whole maps; of others, what is outside is only kept out of scores and maps.
        recomputes: whether the head heeds `recompute`.
        inside: bool (H, W), the positions that count in the likelihood; None: all.
        recompute: whether a backward pass computes activations again from z, in less memory and more time, where they
            are stored otherwise.

    Example:
        >>> import torch
        >>> from altub.flows import FlowConfig, create_head
        >>> head = create_head(FlowConfig(kind="fastflow", steps=2), (6, 4, 4))
        >>> z, log_det = head(torch.randn(3, 6, 4, 4))
        >>> tuple(z.shape), tuple(log_det.shape)
        ((3, 6, 4, 4), (3,))
    """

    needs_calibration: ClassVar[bool] = False
    takes_regions: ClassVar[bool] = False
    recomputes: ClassVar[bool] = False
    inside: Tensor | None

    def __init__(self, config: FlowConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("inside", None, persistent=False)  # follows from the model's configuration
        self.recompute = False  # a matter of the training, not of the model
        self._compiled: tuple[torch.Size, Callable[[Tensor, DiagonalGaussian], Tensor]] | None = None
        self.config = config
        self.channels, *size = shape
        self.size = tuple(size)

    @abstractmethod
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """z (N, C, H, W) and log|det J| (N,) of normalised features (N, C, H, W)."""

    @abstractmethod
    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, C, H, W) of z (N, C, H, W), and the log-determinant of the inverse (N,)."""

    def log_det_map(self, features: Tensor) -> Tensor | None:
        """The share of each position in log|det J|, (N, H, W), which add up to the image's: where a position is
        mapped by itself its own, in a flow over whole maps the log-scales applied there. None where a head knows
        none."""
        return None

    def transform(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """z (N, C, H, W) and `log_det_map`; a head that has one gives both from a single pass."""
        return self(features)[0], self.log_det_map(features)

    @classmethod
    def can_compile(cls) -> bool:
        """Has `compile_nll` an effect on `train_batch`?"""
        return cls.train_batch is FlowHead.train_batch

    def compile_nll(self, shape: torch.Size) -> None:
        """From now on `train_batch` computes the likelihood of microbatches of this shape (n, C, H, W) by
        `torch.compile`, which fuses what lies between the convolutions. Microbatches of another shape, such as the
        rest of an epoch, are computed as before, so that no second compilation holds up a training."""
        self._compiled = shape, torch.compile(self.nll, dynamic=False)

    def energy(self, features: Tensor, base: DiagonalGaussian, log_det_weight: float = 0.0) -> Tensor:
        """How unlikely each position is under `base`, (N, H, W): higher is more anomalous.

        By default 1/2 mean_c u^2 with u = (z - mu) / sigma, without the log-determinant, as FastFlow published it.

        Args:
            log_det_weight: share of the position's log-determinants that count as well, 0 to 1. With 1 it is the
                position's negative log-likelihood in nats per dimension, up to a constant:
                energy + mean_c log sigma_c - `log_det_map` / C. Without effect in heads that know no such map.
        """
        if log_det_weight == 0:
            z, log_det = self(features)[0], None
        else:
            z, log_det = self.transform(features)
        energy = 0.5 * base.standardise(z.float()).square().mean(1)
        if log_det is None:
            return energy
        return energy + log_det_weight * (base.log_std.mean() - log_det.float() / self.channels)

    def energy_and_nll(
        self, features: Tensor, base: DiagonalGaussian, log_det_weight: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """`energy`, and the negative log-likelihood of each image in nats (N,); by default both from one pass."""
        if log_det_weight or type(self).energy is not FlowHead.energy:  # not a function of z alone
            return self.energy(features, base, log_det_weight), self.nll(features, base)
        z, log_det = self._with_log_det(features)
        return 0.5 * base.standardise(z.float()).square().mean(1), self._nll(z, log_det, base)

    def nll(self, features: Tensor, base: DiagonalGaussian) -> Tensor:
        """The negative log-likelihood -log p(z) - log|det J| of each image in nats, (N,).

        Where only some positions count (`inside`), their mean takes the place of the others: numbers with and without
        regions compare, and so do their gradients.
        """
        return self._nll(*self._with_log_det(features), base)

    def _with_log_det(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """z and log|det J|: of the images (N,), or by position (N, H, W) where not all positions count."""
        return self(features) if self.inside is None else self.transform(features)

    def _nll(self, z: Tensor, log_det: Tensor, base: DiagonalGaussian) -> Tensor:
        if self.inside is None:
            return -base.log_prob(z) - log_det
        by_position = -self.channels * base.log_prob_map(z) - log_det
        inside = at_size(self.inside, z.shape[2:])
        return by_position.masked_fill(~inside, 0.0).sum((1, 2)) * (inside.numel() / inside.sum())

    def likelihood(self, energy: Tensor) -> Tensor:
        """exp(-energy), the shape of `energy`; a head whose energies begin elsewhere than at 0 says so here."""
        return torch.exp(-energy)

    def calibrate(self, energies: Tensor) -> None:
        """Called after every epoch with the energies (N, H, W) of held-out good images, if `needs_calibration`."""

    def train_batch(
        self,
        features: Tensor,
        norm: FeatureNorm,
        base: DiagonalGaussian,
        *,
        precision: Precision,
        seed: Sequence[int],
    ) -> Iterator[Update]:
        """Yields the updates of flow and base that one batch gives rise to, each made after the one before it.

        By default one update: the mean negative log-likelihood of the images.

        Args:
            features: (N, C, H, W), not normalised yet.
            norm, base: of this scale. `norm` runs in fp32; its parameters, if any, are trained as well.
            precision: the context to run this head in.
            seed: unique to this batch and scale. All that is random must come from it alone, so that a resumed
                training repeats an undisturbed one.
        """
        count = len(features)

        def negative_log_likelihood(part: Tensor) -> tuple[Tensor, Tensor]:
            normalised = norm(part)
            nll_of = self._compiled[1] if self._compiled and self._compiled[0] == part.shape else self.nll
            with precision():
                nll = nll_of(normalised, base)
            total = nll.sum()
            return total / count, total.detach()

        yield [partial(negative_log_likelihood, part) for part in features.split(microbatch_size(features))]


def microbatch_size(maps: Tensor) -> int:
    """How many of these images (N, C, H, W) one backward pass takes: on a CPU as many as suit a core, else all.

    It depends on the maps alone, so that the number of cores never shows in the weights.
    """
    if maps.device.type != "cpu":
        return len(maps)
    return min(max(MICROBATCH_VALUES // max(maps[0].numel(), 1), FEWEST_IMAGES), MOST_IMAGES)
