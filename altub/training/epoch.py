"""An epoch: the order of its images; at its end calibration on held-out images, metrics on test images, a record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from altub.evaluation.evaluate import collect_maps
from altub.inference.info import ImageCounts, ModelInfo
from altub.training.calibration import BATCH, calibrate
from altub.training.records import BaseDrift, EpochRecord, Quantiles

if TYPE_CHECKING:
    from altub.flows.base import DiagonalGaussian
    from altub.flows.pyramid import FlowPyramid
    from altub.training.preparation import Prepared
    from altub.training.state import TrainingState

__all__ = ["evaluate_epoch", "image_order", "model_info", "nll_per_dimension"]


def image_order(count: int, seed: int, epoch: int) -> list[int]:
    """The order of the images in an epoch, from (seed, epoch) alone."""
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
    return torch.randperm(count, generator=torch.Generator().manual_seed(mixed)).tolist()


def evaluate_epoch(parts: Prepared, state: TrainingState, lr: float) -> EpochRecord:
    """Calibrates the detector on the held-out images, measures it on the test images, and says how the epoch was.

    Args:
        state: at the end of the running epoch, or before the first step: then it is epoch 0.
        lr: the flow's learning rate in its last step.

    Raises:
        ModelError: a likelihood or a score is not finite.
    """
    epoch, config, pyramid = state.epoch + (state.step > 0), parts.config, parts.pyramid
    held_out = calibrate(parts.detector, parts.held_out, parts.workers)
    test = None
    if not len(parts.tested):
        parts.examples.write(epoch, held_out.maps, parts.detector.calibration)
    elif epoch % config.evaluate_every == 0 or epoch == config.epochs:  # epoch 0 always
        found = collect_maps(parts.detector, parts.tested, BATCH, parts.workers)
        test = parts.test.evaluate(found.maps, found.scores)
        parts.examples.write(epoch, found.maps, parts.detector.calibration)
    if epoch == 0:
        return EpochRecord(
            epoch=0,
            phase="start",
            held_out=nll_per_dimension(held_out.nll, pyramid),
            held_out_heads=_per_scale(held_out.nll, pyramid),
            base=[_drift(base) for base in pyramid.bases],
            test=test,
        )
    means, turns = state.sums.means(), config.base.epoch_turns(epoch)
    return EpochRecord(
        epoch=epoch,
        phase="both" if len(turns) > 1 else turns[0],
        loss=nll_per_dimension(means, pyramid),
        loss_heads=means and _per_scale(means, pyramid),
        held_out=nll_per_dimension(held_out.nll, pyramid),
        held_out_heads=_per_scale(held_out.nll, pyramid),
        base=[_drift(base) for base in pyramid.bases],
        base_steps=state.sums.base_steps,
        test=test,
        seconds=state.sums.seconds,
        images_per_second=parts.trained.image_count / max(state.sums.seconds, 1e-9),
        lr=lr,
    )


def model_info(parts: Prepared, record: EpochRecord) -> ModelInfo:
    """What the model of this epoch tells of itself; nothing of where its images lie."""
    return ModelInfo(
        category=parts.category.name,
        epoch=record.epoch,
        metrics=record.test,
        held_out=record.held_out,
        training=parts.config.model_dump(mode="json", exclude={"data"}),
        images=ImageCounts(
            trained=parts.trained.image_count, held_out=parts.held_out.image_count, test=parts.tested.image_count
        ),
    )


def nll_per_dimension(nll: Sequence[float] | None, pyramid: FlowPyramid) -> float | None:
    """Nats per dimension over all scales, from each scale's NLL of an image in nats; None of None."""
    return sum(nll) / sum(math.prod(shape) for shape in pyramid.shapes) if nll else None


def _per_scale(nll: Sequence[float], pyramid: FlowPyramid) -> list[float]:
    return [value / math.prod(shape) for value, shape in zip(nll, pyramid.shapes, strict=True)]


def _drift(base: DiagonalGaussian) -> BaseDrift:
    """How far a base is from N(0, I): quantiles over channels of |mu| and |sigma - 1|."""

    def quantiles(values: np.ndarray) -> Quantiles:
        q05, q25, q50, q75, q95 = map(float, np.quantile(values.astype(np.float64), [0.05, 0.25, 0.5, 0.75, 0.95]))
        return Quantiles(q05=q05, q25=q25, q50=q50, q75=q75, q95=q95)

    mean, log_std = (values.detach().cpu().numpy() for values in (base.mean, base.log_std))
    return BaseDrift(mean=quantiles(np.abs(mean)), std=quantiles(np.abs(np.exp(log_std) - 1)))
