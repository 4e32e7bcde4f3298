"""Draws synthetic defects on good images and lets a model look for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from altub.data import Sample
from altub.data.synthetic import DEFECT_KINDS, Drawn, draw_defect, find_part
from altub.data.synthetic.defects import LARGEST
from altub.errors import ConfigError, DataError
from altub.evaluation.detectability.record import Detectability, RealDefect, Trial
from altub.inference.prediction import MaskedVerdict, Prediction
from altub.inference.threshold import Threshold

if TYPE_CHECKING:
    from altub.inference.detector import AnomalyDetector

__all__ = ["Plan", "defective_image", "measure_detectability"]

#: Defects of each kind and contrast; MIL-HDBK-1823A asks for at least 60 for hits and misses.
TRIALS = 60
#: Mean change of the pixels of a defect, as a share of the range from black to white.
CONTRASTS = (0.25,)
SMALLEST, LARGEST_SHARE = 1.5, 0.2  # pixels; share of the image's shorter side
TOGETHER = 8  # images in one pass
TOGETHER_PIXELS = 8_000_000  # of them at most, unless one has more

Progress = Callable[[int, int], None]  # images done, all images


@dataclass(frozen=True)
class Plan:
    """Which defects are drawn.

    Attributes:
        kinds: of `DEFECT_KINDS`.
        contrasts: each above 0, up to 1.
        trials: of each kind and contrast.
        smallest, largest: diameters of the disk of the same area, in pixels; None: a fifth of the shorter side.
        seed: of everything random.

    Raises:
        ConfigError: a value is out of range.
    """

    kinds: tuple[str, ...] = DEFECT_KINDS
    contrasts: tuple[float, ...] = CONTRASTS
    trials: int = TRIALS
    smallest: float = SMALLEST
    largest: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in DEFECT_KINDS]
        if unknown or not self.kinds:
            raise ConfigError(f"There is no defect {', '.join(unknown) or '(none)'}: use {', '.join(DEFECT_KINDS)}.")
        if not self.contrasts or not all(0 < contrast <= 1 for contrast in self.contrasts):
            raise ConfigError("A contrast is above 0 and at most 1, for example 0.25.")
        if self.trials < 2 or self.smallest < 1 or (self.largest is not None and self.largest <= self.smallest):
            raise ConfigError("Sizes begin at 1 pixel, the largest is above the smallest, and 2 trials are the least.")

    def wishes(self, images: int, size: tuple[int, int]) -> Iterator[list[tuple[int, str, float, float]]]:
        """For each image in turn its (number, kind, contrast, area in pixels), evenly over images and sizes."""
        rng = np.random.default_rng([self.seed, 0])
        largest = self.largest or max(LARGEST_SHARE * min(size), 2 * self.smallest)
        steps = (np.arange(self.trials) + 0.5) / self.trials
        sizes = self.smallest * (largest / self.smallest) ** steps
        wishes = [
            (kind, contrast, math.pi / 4 * float(sizes[step]) ** 2)
            for contrast in self.contrasts
            for kind in self.kinds
            for step in rng.permutation(self.trials)
        ]
        # Every image gets as many defects of a kind as any other, in another order for each kind.
        places = [place for _ in range(-(-len(wishes) // images)) for place in rng.permutation(images)]
        of_image: list[list[tuple[int, str, float, float]]] = [[] for _ in range(images)]
        for number, (wish, place) in enumerate(zip(wishes, places, strict=False)):
            of_image[place].append((number, *wish))
        yield from of_image


def measure_detectability(
    detector: AnomalyDetector,
    good: Sequence[Sample],
    *,
    threshold: Threshold | None = None,
    plan: Plan | None = None,
    real: Sequence[Sample] = (),
    mm_per_pixel: float | None = None,
    category: str | None = None,
    weights_sha256: str = "",
    progress: Progress | None = None,
) -> Detectability:
    """Draws defects on good images and counts which of them the model finds at a threshold.

    A hit: the image's verdict is defect, and the marked area touches the defect. The verdict alone would count false
    alarms as hits.

    Args:
        good: images that the model was not trained on; a few give a curve already, more of them a narrower band.
        threshold: None: the model's own.
        real: defective images, of which those with masks are tried as well.
        mm_per_pixel: scale of the images at their own size; None: sizes stay in pixels.

    Raises:
        DataError: there is no good image.
        ImageError: an image cannot be read.
        ConfigError: the scale is not above 0.

    Example: `measure_detectability(detector, category_good_images).curve(0.25).bound_at(0.9)`.
    """
    plan, threshold = plan or Plan(), threshold or detector.threshold
    if not good:
        raise DataError("There is no good image to draw defects on: add some that the model was not trained on.")
    if mm_per_pixel is not None and not mm_per_pixel > 0:
        raise ConfigError(f"The scale is {mm_per_pixel:g} mm per pixel: it must be above 0.")
    real = [sample for sample in real if sample.is_defective and sample.has_mask]
    total = len(good) + len(real)
    scores, alarms = [], 0
    trials: dict[int, Trial] = {}
    donor: np.ndarray | None = None
    wishes: list[list[tuple[int, str, float, float]]] | None = None
    for place, sample in enumerate(good):
        with sample.opened(detector.config.pixel_range) as photo:
            if wishes is None:
                wishes = list(plan.wishes(len(good), photo.size))
            image = _as_floats(photo)
        part = _inspected_part(detector, image)
        drawn = [_draw(plan, wish, image, part, donor) for wish in wishes[place]]
        clean, *verdicts = _verdicts(detector, [image, *(one.image for one in drawn)], threshold)
        scores.append(clean[1])
        alarms += clean[0].is_anomalous
        for (number, kind, contrast, _), one, (verdict, score) in zip(wishes[place], drawn, verdicts, strict=True):
            trials[number] = Trial(
                kind=kind,
                contrast=contrast,
                area=int(one.mask.sum()),
                image=place,
                hit=_touches(verdict, one.mask),
                by_chance=_touches(clean[0], one.mask),
                score=score,
            )
        donor = image
        if progress is not None:
            progress(place + 1, total)
    found = []
    for place, sample in enumerate(real, start=len(good) + 1):
        found += _real(detector, sample, threshold)
        if progress is not None:
            progress(place, total)
    return Detectability(
        category=category or detector.info.category,
        weights_sha256=weights_sha256,
        threshold=threshold.to_dict(),
        promise=threshold.origin.promise,
        good_scores=scores,
        false_alarms=alarms,
        trials=[trials[number] for number in sorted(trials)],
        real=found,
        mm_per_pixel=mm_per_pixel,
        seed=plan.seed,
    )


def defective_image(image: np.ndarray, kind: str, size: float, contrast: float, seed: int) -> Drawn:
    """An image (H, W, 3) with a defect of this size (`diameter`), smaller where the part has no room for it."""
    part = find_part(image)
    return _draw(Plan(seed=seed), (0, kind, contrast, math.pi / 4 * size**2), image, part, None)


def _inspected_part(detector: AnomalyDetector, image: np.ndarray) -> np.ndarray:
    """Where defects are drawn, bool (H, W): on the part, as far as the model looks at it."""
    part, inside = find_part(image), detector.inspected(image.shape[:2])
    if inside is None:
        return part
    return part & inside if (part & inside).any() else inside


def _draw(
    plan: Plan, wish: tuple[int, str, float, float], image: np.ndarray, part: np.ndarray, donor: np.ndarray | None
) -> Drawn:
    number, kind, contrast, area = wish
    area = float(np.clip(area, 1, LARGEST * part.sum()))
    rng = np.random.default_rng([plan.seed, 1, number])  # the same defect whatever else is tried
    return draw_defect(kind, image, rng, area=area, contrast=contrast, part=part, donor=donor)


def _verdicts(
    detector: AnomalyDetector, images: Sequence[np.ndarray], threshold: Threshold
) -> Iterator[tuple[MaskedVerdict, float]]:
    """Verdict and score of each image (H, W, 3) in [0, 1]."""
    calibration = detector.require_calibration()
    pixels = images[0].shape[0] * images[0].shape[1]
    together = int(np.clip(TOGETHER_PIXELS // pixels, 1, TOGETHER))
    for first in range(0, len(images), together):
        photos = [Image.fromarray(_as_bytes(image)) for image in images[first : first + together]]
        maps, scales = detector.raw_maps(photos)
        for photo, anomaly_map, scale_maps in zip(photos, maps, scales, strict=True):
            score = detector.score(scale_maps)
            prediction = Prediction.from_maps(anomaly_map, scale_maps, photo.size, score, calibration.p_value(score))
            yield prediction.at(threshold), score


def _real(detector: AnomalyDetector, sample: Sample, threshold: Threshold) -> list[RealDefect]:
    """The defect of a test image; nothing where its mask is empty."""
    with sample.opened(detector.config.pixel_range) as photo:
        ((verdict, score),) = _verdicts(detector, [_as_floats(photo)], threshold)
    mask = sample.read_mask(verdict.mask.shape)
    if mask is None or not mask.any():
        return []
    area = int(mask.sum())
    return [RealDefect(defect=sample.defect, area=area, hit=_touches(verdict, mask), score=score)]


def _touches(verdict: MaskedVerdict, mask: np.ndarray) -> bool:
    return verdict.is_anomalous and bool((verdict.mask & mask).any())


def _as_floats(photo: Image.Image) -> np.ndarray:
    return np.asarray(photo, dtype=np.float32) / 255


def _as_bytes(image: np.ndarray) -> np.ndarray:
    return np.rint(image * 255).astype(np.uint8)
