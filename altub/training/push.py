"""Known defects, pushed below the boundary of good parts in the last epochs.

After X. Yao, R. Li, J. Zhang, J. Sun, C. Zhang, "Explicit Boundary Guided Semi-Push-Pull Contrastive Learning for
Supervised Anomaly Detection" (BGAD, CVPR 2023, https://arxiv.org/abs/2207.01463): the boundary is a low quantile of the
log-likelihoods of good positions, and positions of known defects are pushed below it by a margin. Here log-likelihood
is minus the energy that maps are made of (`FlowHead.energy`), quantiles are those of the batch of good images that the
flow learns from in the same step, and the pull of BGAD, good positions above the boundary, is the maximum likelihood
that the flow is trained by anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from altub.flows import FeatureNorm, FlowPyramid
from altub.flows.head import Microbatch
from altub.flows.inside import only_inside
from altub.training.features import FeatureStore
from altub.training.schedule import Phase

__all__ = ["BOUNDARY", "MARGIN", "KnownDefects", "Push", "push_of_step"]

BOUNDARY = 0.99  # quantile of the energies of good positions
MARGIN = 1.0  # distance beyond it, in units of the boundary's distance from the median
BATCH = 8  # known defects in one step
COVERED = 0.3  # share of a position that a defect covers for the position to count


@dataclass(frozen=True)
class Push:
    """The known defects of one step.

    Attributes:
        features: per scale (n, C, H, W).
        positions: per scale bool (n, H, W): where the defects are.
        weight: of the mean push of a position, relative to the mean negative log-likelihood of a dimension.
    """

    features: list[Tensor]
    positions: list[Tensor]
    weight: float

    def microbatches(
        self,
        pyramid: FlowPyramid,
        good: Sequence[Tensor],
        precision: Callable[[], AbstractContextManager],
        norms: Sequence[FeatureNorm] | None = None,
    ) -> list[Microbatch]:
        """One for every scale: how far the energies of the defects are from where they should be.

        Args:
            good: features of the good images of the same step, per scale (N, C, H, W).
            norms: what these and the features of the defects have still to pass; by default the pyramid's.
        """
        norms = pyramid.norms if norms is None else norms

        def push(scale: int) -> tuple[Tensor, Tensor]:
            norm, head, base = norms[scale], pyramid.heads[scale], pyramid.bases[scale]
            with torch.no_grad(), precision():
                energies = head.energy(norm(good[scale]), base)
                middle, boundary = _quantiles(only_inside(energies[:, None], head.inside))
            normalised, where = norm(self.features[scale]), self.positions[scale]
            with precision():
                energies = head.energy(normalised, base)
            unit = (boundary - middle).clamp_min(1e-6)
            missing = F.relu(1 + MARGIN - (energies.float() - middle) / unit)
            missing = torch.where(where, missing, 0.0).sum() / where.sum().clamp_min(1)
            dimensions = self.features[scale][0].numel()
            return self.weight * dimensions * missing, missing.new_zeros((), dtype=torch.float64)

        return [partial(push, scale) for scale in range(len(self.features))]


class KnownDefects:
    """The known defects of a training, in an order that follows from the seed.

    Args:
        store: their features, filled.
        masks: one for each image, bool (S, S) at the training size.
        seed: of the training.
    """

    def __init__(self, store: FeatureStore, masks: Sequence[np.ndarray], seed: int) -> None:
        self.store, self.seed = store, seed
        pixels = torch.from_numpy(np.stack(masks)).float()[:, None]
        self.positions = [_covered(pixels, shape[1:]).to(store.device) for shape in store.shapes]

    def push(self, step: int, weight: float) -> Push:
        """The ones of a step, counted from 0."""
        count = len(self.store)
        size = min(BATCH, count)
        turn, start = divmod(step * size, count)
        orders = [self._order(turn), self._order(turn + 1)]
        images = [image for order in orders for image in order][start : start + size]
        return Push(self.store.batch(images), [where[images] for where in self.positions], weight)

    def _order(self, turn: int) -> list[int]:
        return np.random.default_rng([self.seed, turn]).permutation(len(self.store)).tolist()


def push_of_step(
    known: KnownDefects | None, turn: Phase, epochs_left: int, push_epochs: int, step: int, weight: float
) -> Push | None:
    """What a step, counted from 0, pushes: known defects in the flow's turns of the last `push_epochs` epochs.

    epochs_left: after the one of the step.
    """
    if known is None or turn != "flow" or epochs_left >= push_epochs:
        return None
    return known.push(step, weight)


def _covered(pixels: Tensor, size: tuple[int, ...]) -> Tensor:
    """Masks (n, 1, S, S) as positions (n, *size): those covered enough, and of every defect at least the most."""
    share = F.adaptive_avg_pool2d(pixels, size)[:, 0]
    most = share.flatten(1).max(1).values[:, None, None]
    return (share >= torch.minimum(most, torch.tensor(COVERED))) & (share > 0)


def _quantiles(energies: Tensor) -> list[Tensor]:
    """The median and the boundary, on the device of the energies."""
    ordered = energies.float().flatten().sort().values
    found = []
    for share in (0.5, BOUNDARY):
        below, between = divmod(share * (len(ordered) - 1), 1)
        low, high = ordered[int(below)], ordered[min(int(below) + 1, len(ordered) - 1)]
        found.append(low + (high - low) * between)
    return found
