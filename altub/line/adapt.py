"""A model follows the line: adapted to today's good images, with a report of before and after.

    adaptation = adapt(detector, ["today/001.png", ...])
    print("\\n".join(adaptation.report.sentences()))
    adaptation.detector.save("models/bottle-november")

Images that do not look like good parts are refused: a model that follows defects would find none afterwards.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from altub.data import Category, ImageSource, Sample
from altub.errors import DataError
from altub.files import printable
from altub.inference.info import ModelInfo
from altub.settings import feature_memory_bytes
from altub.training.adaptation_ways import Way, passes_of

if TYPE_CHECKING:
    from altub.inference.detector import AnomalyDetector
    from altub.line.moves import Move
    from altub.training.adaptation import Adapted

__all__ = ["FLOW_TIME", "LEAST_IMAGES", "Adaptation", "AdaptationReport", "UnlikeGoodPartsError", "adapt"]

LEAST_IMAGES = 8
PLENTY = 32  # images; more change little
FLOW_TIME = (  # docs/results-adaptation.md
    f"up to {passes_of('flow', PLENTY) / passes_of('base', PLENTY):.0f} times as long as the base: 32 images at 256 px "
    "about a minute on two cores"
)
EXTREME = 8.0  # robust standard deviations above the median: such a score is no part of the others
OTHER_PART = 8.0  # of `Adapted.layout_distance`; on bottle strong shifts reach 4, other parts begin at 13
NAMED = 3  # files that a message names


class UnlikeGoodPartsError(DataError):
    """Images to adapt to that are no good parts by the model's own measure."""


@dataclass(frozen=True, eq=False)
class AdaptationReport:
    """Before and after, on the images that the model was adapted to.

    Attributes:
        way: what followed.
        images: how many.
        scores_before: (n,) by the model as it was.
        p_values_before: (n,) by its calibration.
        threshold_before, threshold_after: of the score, each on its own model's scale.
        scores_after: (n,) by models that had not seen the image.
        base: how far it moved, per feature scale, the finest first.
        norm: the same of the features' moments in front of the flow; empty where the norm keeps none.
        flow: per scale, how far its weights moved, as a share of their size.
        seconds: that it took.
        notes: sentences on what looks wrong.
    """

    way: str
    images: int
    scores_before: np.ndarray
    p_values_before: np.ndarray
    threshold_before: float
    scores_after: np.ndarray
    threshold_after: float
    promise: str
    base: tuple[Move, ...]
    norm: tuple[Move, ...]
    flow: tuple[float, ...]
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def rejected_after(self) -> int:
        """How many of them the adapted model does, each judged by one that had not seen it. The threshold is set on the
        same images, so this says little of new ones: `promise` does."""
        return int((self.scores_after > self.threshold_after).sum())

    @property
    def rejected_before(self) -> int:
        """How many of the images the model as it was calls defective."""
        return int((self.scores_before > self.threshold_before).sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        for name in ("base", "norm"):
            values[name] = [move.to_dict() for move in getattr(self, name)]
        for name in ("scores_before", "p_values_before", "scores_after"):
            values[name] = values[name].tolist()
        return values | {"rejected_before": self.rejected_before}

    def sentences(self) -> list[str]:
        """What a person reads, a sentence each."""
        low, high = np.median(self.scores_before), np.median(self.scores_after)
        lines = [
            f"Before: {self.rejected_before} of {self.images} good images above the threshold "
            f"{self.threshold_before:.4g}; median score {low:.4g}, median p-value "
            f"{np.median(self.p_values_before):.2g}.",
            f"After ({self.way}): threshold {self.threshold_after:.4g}, median score {high:.4g}. {self.promise}",
        ]
        for what, moves in (("The base", self.base), ("The features in front of the flow", self.norm)):
            if any(move.mean or move.log_std for move in moves):
                steps = ", ".join(f"{move.mean:.2f} / {move.log_std:.2f}" for move in moves)
                lines.append(f"{what} moved by mean / log sigma, scale by scale: {steps}.")
        if any(self.flow):
            steps = ", ".join(f"{100 * step:.2f} %" for step in self.flow)
            lines.append(f"The weights of the flow moved by these shares of their size, scale by scale: {steps}.")
        return [*lines, *self.notes, f"It took {self.seconds:.1f} s."]


@dataclass(frozen=True)
class Adaptation:
    """The adapted model and its report; the model that it was made from is as it was."""

    detector: AnomalyDetector
    report: AdaptationReport


def adapt(
    detector: AnomalyDetector,
    images: Sequence[Sample | ImageSource],
    *,
    way: Way | None = None,
    refuse: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Adaptation:
    """Adapts a copy of a detector to images of good parts as they look today.

    Args:
        images: at least 8, of good parts only; 32 are plenty.
        way: what follows; None: the best that the model's norm allows (docs/results-adaptation.md).
        refuse: raise where the images do not look like good parts; else the report's notes say so.
        seed: of the flow's training (way "flow"); the other ways have nothing random.
        progress: called with the passes of images through the model that are done, and all. What it raises ends the
            adaptation.

    Raises:
        DataError: fewer than 8 images.
        UnlikeGoodPartsError: they do not look like good parts, or some of them do not.
        ImageError: one cannot be read.
        ConfigError: there is no such way, or the model does not allow it.
        ModelError: the model was never calibrated, or gives no finite score or loss.
    """
    from altub.device import Workers
    from altub.line.moves import base_moves, flow_moves, norm_moves
    from altub.training.adaptation import adapt_detector, usable_ways
    from altub.training.features import FeatureStore

    began = time.monotonic()
    samples = Category.from_images("today", images).train
    if len(samples) < LEAST_IMAGES:
        raise DataError(
            f"{len(samples)} images are too few: a model is adapted to at least {LEAST_IMAGES} good images, "
            f"{PLENTY} are plenty. Add images of good parts."
        )
    threshold = detector.threshold  # of a model that was never calibrated there is none
    chosen = way or usable_ways(detector.pyramid)[0]
    workers = Workers(detector.device)
    try:
        with tempfile.TemporaryDirectory(prefix="altub-adapt-") as folder:
            store = FeatureStore(
                detector.backbone,
                samples,
                detector.config.image_size,
                device=detector.device,
                budget=feature_memory_bytes(),
                spill=Path(folder) / "features",
                workers=workers,
                pixel_range=detector.config.pixel_range,
                describes=True,
            )
            try:
                for _ in store.fill():
                    pass
                adapted = adapt_detector(detector, store, chosen, workers, seed=seed, progress=progress)
            finally:
                store.close()
    finally:
        workers.close()
    notes = tuple(_doubts(detector, adapted, samples))
    if notes and refuse:
        raise UnlikeGoodPartsError(" ".join(notes))
    calibration = adapted.detector.require_calibration()
    after = calibration.threshold()
    report = AdaptationReport(
        way=chosen,
        images=len(samples),
        scores_before=adapted.scores_before,
        p_values_before=np.array([detector.require_calibration().p_value(score) for score in adapted.scores_before]),
        threshold_before=threshold.value,
        scores_after=adapted.scores_after,
        threshold_after=after.value,
        promise=after.warning or after.origin.promise,
        base=base_moves(detector.pyramid, adapted.detector.pyramid),
        norm=norm_moves(detector.pyramid, adapted.detector.pyramid),
        flow=flow_moves(detector.pyramid, adapted.detector.pyramid),
        seconds=time.monotonic() - began,
        notes=notes,
    )
    adapted.detector.info = _info(detector.info, report)
    return Adaptation(adapted.detector, report)


def _doubts(detector: AnomalyDetector, adapted: Adapted, samples: Sequence[Sample]) -> list[str]:
    """Why these may be no images of good parts, a sentence each."""
    found = []
    if adapted.layout_distance is not None and adapted.layout_distance > OTHER_PART:
        found.append(
            "The images differ from the training images as a whole: another part, or another view of it? Check the "
            "images, or train a new model on them."
        )
    least = _spread(detector.require_calibration().scores)
    extreme: set[int] = set()
    for scores in (adapted.scores_before, adapted.scores_after):
        limit = float(np.median(scores)) + EXTREME * max(_spread(scores), least)
        extreme |= set(np.flatnonzero(scores > limit).tolist())
    if extreme:
        worst = sorted(extreme, key=lambda index: -adapted.scores_before[index])
        names = ", ".join(printable(samples[index].path.name) for index in worst[:NAMED])
        more = f" and {len(worst) - NAMED} more" if len(worst) > NAMED else ""
        found.append(
            f"{len(worst)} of {len(samples)} images are far more anomalous than the others: {names}{more}. Remove them "
            "if they show defects."
        )
    return found


def _spread(scores: np.ndarray) -> float:
    """A standard deviation that single extreme scores do not change: from the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(scores - np.median(scores))))


def _info(info: ModelInfo, report: AdaptationReport) -> ModelInfo:
    """What the adapted model tells of itself: the metrics of the former one are not its own."""
    earlier = info.model_dump().get("adaptations") or []
    entry = {"way": report.way, "images": report.images, "at": round(time.time())}
    return info.model_copy(update={"metrics": None, "held_out": None, "adaptations": [*earlier, entry]})
