"""A trained detector brought to today's images: norm, base or flow follow, the calibration is new.

The calibration comes from the same few images, but never from a model that has seen them: the images are divided into
folds, each fold is scored by a model that was adapted to the others (cross-conformal predictors, arXiv:1208.0806). The
model that is kept is adapted to all of them, so its scores of new images are if anything lower than those. That its
false-alarm rate is the promised one is measured (docs/results-adaptation.md), not proven.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from altub.backbones.catalogue import usual_flow_lr
from altub.device import autocast
from altub.errors import ConfigError, DataError
from altub.flows.alignment import Alignment, FeatureSums, align_norm, alignments_of, mean_distance
from altub.flows.base import latent_moments
from altub.flows.registry import get_flow
from altub.inference.comparability import Comparability
from altub.inference.detector import AnomalyDetector
from altub.inference.framing_settings import require_plain
from altub.training.adaptation_ways import FLOW_EPOCHS, FOLDS, TRAINED, WAYS, Way, moves_base, passes_of
from altub.training.calibration import calibrate_by_energies, energies_of, maps_of_energies
from altub.training.config import TrainingConfig, make_config
from altub.training.short import Part, train_epochs
from altub.training.steps import Alternation

if TYPE_CHECKING:
    from altub.device import Workers
    from altub.flows.pyramid import FlowPyramid
    from altub.training.features import FeatureStore

__all__ = ["FLOW_EPOCHS", "WAYS", "Adapted", "Way", "adapt_detector", "passes_of", "usable_ways"]

BATCH = 8  # images at a time; only speed and memory depend on it
BASE_PRIOR = 8  # of n images the base's moments count n / (n + 8), the rest is the old base
FLOW_RATE = 0.1  # their learning rate, as a share of the one that the model was trained with
FLOW_BATCH = 8  # images in one step


@dataclass(frozen=True)
class Adapted:
    """A detector after its adaptation, and what was seen on the way.

    Attributes:
        detector: shares backbone and settings with the one it was made from.
        scores_before: (n,) of the images by the detector as it was.
        scores_after: (n,) by models that had not seen the image; `detector.calibration` holds the same ones.
        layout_distance: mean squared distance of the images' position means from those of the training, in units of a
            position's variance, each channel aligned before; of the feature scales the median. None: the norm keeps no
            position means.
    """

    detector: AnomalyDetector
    scores_before: np.ndarray
    scores_after: np.ndarray
    layout_distance: float | None


def usable_ways(pyramid: FlowPyramid) -> tuple[Way, ...]:
    """The ways that this model's norms allow, the better ones first; "base" is always one."""
    possible: set[Alignment | None] = {None}
    possible |= set.intersection(*(set(alignments_of(norm)) for norm in pyramid.norms))
    trainable = any(True for _ in pyramid.flow_parameters())  # a head of one's own may have no weights
    return tuple(way for way in WAYS if _alignment(way) in possible and (way != "flow" or trainable))


def adapt_detector(
    detector: AnomalyDetector,
    store: FeatureStore,
    way: Way,
    workers: Workers,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Adapted:
    """Adapts a copy of a detector to the images of a store, all of them good; the detector stays as it is.

    Args:
        store: filled; its images in any order.
        way: what follows the images: the feature norm, the base, the norm and then the base, or the flow and then the
            base.
        seed: of the order of the images in the flow's training; the other ways have nothing random.
        progress: called with the passes of images through the model that are done, and all (`passes_of`). What it
            raises ends the adaptation.

    Raises:
        ConfigError: there is no such way, or this model does not allow it.
        DataError: too few images to train a flow on.
        ModelError: the model gives no finite score for one of the images, or no finite loss.
    """
    require_plain(detector.config, "adapted")
    _require_way(detector, way)
    if way == "flow" and len(store) < 2 * FOLDS:
        raise DataError(
            f"{len(store)} images are too few to train the flow on: add images of good parts, {2 * FOLDS} at least, or "
            "adapt by the way base."
        )
    passes = _Passes(detector, store, workers, way, seed, progress)
    before = passes.scores(detector, passes.energies(detector.pyramid, range(len(store))))
    sums = passes.feature_sums()
    energies: list[list[Tensor]] = [[] for _ in store.shapes]
    for fold, held_out in enumerate(passes.folds):
        others = [image for k, images in enumerate(passes.folds) if k != fold for image in images]
        pyramid = passes.adapted([part for k, part in enumerate(sums) if k != fold], others)
        for scale, values in enumerate(passes.energies(pyramid, held_out)):
            energies[scale].append(values)
    order = torch.tensor([image for images in passes.folds for image in images]).argsort()
    crossed = [torch.cat(values)[order] for values in energies]

    final = AnomalyDetector(
        detector.config, detector.backbone, passes.adapted(sums, range(len(store))), detector.calibration, detector.info
    )
    if final.needs_energies:
        final.calibrate_scales(crossed)
    passes.calibrate(final, crossed)
    # One from labels or by hand lost its meaning.
    final.own_threshold = final.require_calibration().at_rate_of(detector.own_threshold)
    after = passes.scores(final, crossed)
    return Adapted(final.eval().requires_grad_(False), before, after, passes.layout_distance(sums))


class _Passes:
    """The passes of the images through norms and flows that an adaptation takes."""

    def __init__(
        self,
        detector: AnomalyDetector,
        store: FeatureStore,
        workers: Workers,
        way: Way,
        seed: int,
        progress: Callable[[int, int], None],
    ) -> None:
        self.original, self.store, self.workers, self.way, self.seed = detector, store, workers, way, seed
        self.progress, self.done = progress, 0
        count = len(store)
        # Every FOLDS-th image: pictures taken one after the other are alike, and each fold has some of every hour.
        self.folds = [list(range(start, count, FOLDS)) for start in range(min(FOLDS, count))]
        self.total = passes_of(way, count)

    def _batches(self, images: Iterable[int]) -> Iterator[list[Tensor]]:
        images = list(images)
        for start in range(0, len(images), BATCH):
            yield self.store.batch(images[start : start + BATCH])

    def _count(self, images: int) -> None:
        self.done += images
        self.progress(min(self.done, self.total), self.total)

    def energies(self, pyramid: FlowPyramid, images: Sequence[int]) -> list[Tensor]:
        """Per scale (n, h, w)."""
        weight, pieces = self.original.config.log_det_weight, []
        for found in energies_of(pyramid, self._batches(images), weight, self.workers):
            pieces.append(found)
            self._count(len(found[0]))
        return [torch.cat(values) for values in zip(*pieces, strict=True)]

    def feature_sums(self) -> list[list[FeatureSums]]:
        """Per fold the sums of every scale; none where the norms keep no moments."""
        if not alignments_of(self.original.pyramid.norms[0]):
            return [[] for _ in self.folds]
        found, scales = [], list(zip(self.store.shapes, self.original.pyramid.inside, strict=True))
        for images in self.folds:
            sums = [FeatureSums(shape, self.store.device, inside) for shape, inside in scales]
            for features in self._batches(images):
                for part, values in zip(sums, features, strict=True):
                    part.add(values)
            found.append(sums)
        return found

    def adapted(self, sums: Sequence[Sequence[FeatureSums]], images: Sequence[int]) -> FlowPyramid:
        """A copy of the pyramid that follows these images."""
        pyramid = copy.deepcopy(self.original.pyramid)
        alignment = _alignment(self.way)
        if alignment is not None:
            for norm, total in zip(pyramid.norms, _totals(sums), strict=True):
                align_norm(norm, total, alignment)
        if self.way == "flow":
            self._train_flow(pyramid, images)
        if moves_base(self.way):
            self._move_bases(pyramid, images)
        return pyramid

    def _train_flow(self, pyramid: FlowPyramid, images: Sequence[int]) -> None:
        """Trains the flows further on these images, under the bases that they have."""
        config = _flow_config(self.original, len(images), self.seed)
        pyramid.recompute_activations(config.recompute)
        # In fp32 whatever the training was in: the same on every machine, and the images are few.
        precision = partial(autocast, self.store.device, "fp32")
        updates = Alternation(config, pyramid, precision, self.workers)
        for _, count in train_epochs(updates, Part(self.store, images), config.epochs):
            self._count(TRAINED * count)
        pyramid.requires_grad_(False)

    def layout_distance(self, sums: Sequence[Sequence[FeatureSums]]) -> float | None:
        """See `Adapted`."""
        distances = []
        for norm, total in zip(self.original.pyramid.norms, _totals(sums), strict=False):
            if "position" in alignments_of(norm):
                aligned = copy.deepcopy(norm)
                align_norm(aligned, total, "channel")
                distance, noise = mean_distance(aligned, total)
                distances.append(distance - noise)
        return float(np.median(distances)) if distances else None

    def _move_bases(self, pyramid: FlowPyramid, images: Sequence[int]) -> None:
        """Every base towards the mean and standard deviation of z over the images, as far as they are many."""

        def piece(features: list[Tensor]) -> list[Tensor]:
            with torch.no_grad():
                return pyramid.counted_latents(pyramid.normalise(features))

        def latents() -> Iterator[list[Tensor]]:
            for found in self.workers.map(piece, self._batches(images)):
                yield found
                self._count(len(found[0]))

        share = len(images) / (len(images) + BASE_PRIOR)
        for base, (mean, std) in zip(pyramid.bases, latent_moments(latents()), strict=True):
            old_mean, old_std = base.mean.detach(), base.log_std.detach().exp()
            variance = share * std.square() + (1 - share) * old_std.square()
            base.set_moments(share * mean + (1 - share) * old_mean, variance.sqrt())

    def scores(self, detector: AnomalyDetector, energies: Sequence[Tensor]) -> np.ndarray:
        """(n,) from the energies.

        Raises:
            ModelError: one is not finite.
        """
        return np.concatenate([scores for _, scores in maps_of_energies(detector, energies, self.store.device)])

    def calibrate(self, detector: AnomalyDetector, energies: Sequence[Tensor]) -> None:
        """Gives a detector a calibration on these images, by its present ranges, and what they look like as a whole."""
        calibrate_by_energies(detector, energies, self.store.device, folds=len(self.folds))
        for _ in self.store.describe():
            pass
        if self.store.describes:
            regions = detector.config.regions if detector.config.hides_outside else ()
            detector.comparability = Comparability.fit(self.store.pictures, self.store.image_size, regions=regions)


def _totals(sums: Sequence[Sequence[FeatureSums]]) -> list[FeatureSums]:
    """Per scale the sums of all parts."""
    return [reduce(add, parts) for parts in zip(*sums, strict=True)]


def _alignment(way: Way) -> Alignment | None:
    first = way.partition("+")[0]
    return first.removeprefix("norm-") if first.startswith("norm-") else None


def _require_way(detector: AnomalyDetector, way: str) -> None:
    """
    Raises:
        ConfigError: there is no such way, or this model does not allow it.
    """
    usable = usable_ways(detector.pyramid)
    if way in usable:
        return
    choice = f"Choose one of {', '.join(usable)}."
    if way not in WAYS:
        raise ConfigError(f"There is no way {way!r}. {choice}")
    if way == "flow":
        raise ConfigError(f"This model has no way flow: its flow has no weights that could be trained. {choice}")
    raise ConfigError(
        f"This model has no way {way}: its feature norm ({detector.config.flow.norm}) keeps no moments that could "
        f"follow. {choice}"
    )


def _flow_config(detector: AnomalyDetector, count: int, seed: int) -> TrainingConfig:
    """The settings by which a flow is trained on `count` images of today: its own, at a small rate, the base fixed."""
    config, trained = detector.config, None
    with suppress(ValidationError):  # of a later version, or of settings that its model was not trained by
        trained = TrainingConfig.of_model(detector.info)
    usual = usual_flow_lr(config.backbone) or get_flow(config.flow.kind).usual_lr
    return make_config(
        category=detector.info.category,
        flow=config.flow.model_dump(),
        epochs=FLOW_EPOCHS,
        batch_size=math.ceil(count / math.ceil(count / FLOW_BATCH)),  # equal ones: a small rest is a noisy gradient
        lr=FLOW_RATE * ((trained and trained.lr) or usual),
        weight_decay=trained.weight_decay if trained else None,
        recompute=trained.recompute if trained else None,
        base={"base_update": "off"},  # while the flow is trained; see `_move_bases`
        seed=seed,
    )
