"""The base alone: mu and sigma re-estimated from features while the flow stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from altub.flows.base import latent_moments

if TYPE_CHECKING:
    from altub.flows.pyramid import FlowPyramid
    from altub.training.features import FeatureStore

__all__ = ["fit_base"]

BATCH = 8  # images at a time; only speed and memory depend on it


def fit_base(
    pyramid: FlowPyramid,
    store: FeatureStore,
    *,
    precision: Callable[[], AbstractContextManager] = nullcontext,
    check: Callable[[], None] = lambda: None,
    add: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> None:
    """Puts every base at the mean and standard deviation of z over a set of images.

    With the flow frozen these moments minimise the negative log-likelihood exactly, so that one pass without gradients
    replaces the gradient steps of a base turn.

    Args:
        pyramid: flows and bases; only the bases change.
        store: features of the images.
        precision: gives the autocast context of a forward pass.
        add: the sum of a tensor over the processes that share the store's images.
        check: called after every batch; what it raises ends the pass before anything has changed.
    """

    norms = store.norms_left(pyramid)

    def latents() -> Iterator[list[Tensor]]:
        with torch.no_grad():
            for _, features in store.batches(BATCH):
                normalised = pyramid.normalise(features, norms)
                with precision():
                    found = pyramid.counted_latents(normalised)
                yield found
                check()

    for base, (mean, std) in zip(pyramid.bases, latent_moments(latents(), add), strict=True):
        base.set_moments(mean, std)
