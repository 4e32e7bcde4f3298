"""Good images that people labelled join a model's calibration, which makes its p-values finer.

A conformal p-value needs held-out images that are exchangeable with a new good image. Labelled good images are, where
they were drawn at random (`Evidence`); those that the queue chose for being odd are not, and stay out until a draw
meets them. Where only a share of the production came into the store, an image stands for 1 / inclusion others. Such
weights are made equal by thinning: an image is kept with probability (smallest inclusion) / inclusion, by the random
number that it got when it was added, so that the same images are kept every time. The ones kept are a plain random
sample again, and the p-values exact; weighted p-values would need the unknown inclusion of the new image.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from altub.inference.calibration import Calibration
from altub.labels.sample import Evidence
from altub.labels.store import LabelStore

__all__ = ["extended_calibration"]


def extended_calibration(
    calibration: Calibration, evidence: Evidence, store: LabelStore, *, used: Iterable[str] = ()
) -> tuple[Calibration, int]:
    """The calibration with the randomly drawn good labels added, and how many these are.

    Args:
        evidence: of `read_sample`, for the model that the calibration belongs to.
        used: SHA-256 of images that the model was trained on, whose scores are too low, and of its held-out images,
            which are in the calibration already.

    The colours of the maps stay as they were.
    """
    known, kept = set(used), []
    lightest = float(evidence.weights.max()) if evidence.weights.size else 1.0
    for place, image in enumerate(evidence.images):
        if evidence.labels[place] != 0 or image in known:
            continue
        if store.images.get(image).ticket * lightest < evidence.weights[place]:
            kept.append(place)
    return (
        Calibration(
            scores=np.concatenate([calibration.scores, evidence.scores[kept]]),
            colour_low=calibration.colour_low,
            colour_high=calibration.colour_high,
            peaks=np.concatenate([calibration.peaks, evidence.peaks[kept]]),
            folds=calibration.folds,
        ),
        len(kept),
    )
