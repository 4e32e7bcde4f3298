"""A model looks at the stored images once; what it says is kept as proposals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from altub.data import opened_in_chunks
from altub.labels.store import LabelStore

if TYPE_CHECKING:
    from altub.inference.detector import AnomalyDetector

__all__ = ["Scored", "score_images"]


@dataclass(frozen=True)
class Scored:
    """What `score_images` did.

    Attributes:
        images: number of proposals that were added.
        errors: SHA-256 of an image -> why it has none.
    """

    images: int
    errors: dict[str, str]


def score_images(
    store: LabelStore,
    detector: AnomalyDetector,
    model: str,
    *,
    source: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Scored:
    """Asks a model about every image that it was not asked about yet; stopped, it goes on from there the next time.

    Args:
        model: SHA-256 of the detector's weights (`weights_sha256` of its config.json).
        source: only images from there.
        progress: called with the number of images done and of all.
        should_stop: asked after every few images.

    Raises:
        ModelError: the model was never calibrated, or gives no finite score.
        DiskFullError: no room; what was stored before stays.
    """
    calibration = detector.require_calibration()
    chosen = None if source is None else [image.sha256 for image in store.images.all(source)]
    missing = store.proposals.missing(model, chosen)
    added, errors = 0, {}
    if progress is not None:
        progress(0, len(missing))
    for chunk in opened_in_chunks(missing, store.objects.path, pixel_range=detector.config.pixel_range):
        photos = [photo for _, photo in chunk if isinstance(photo, Image.Image)]
        maps, scales = detector.raw_maps(photos) if photos else ([], [])
        results = iter(zip(maps, scales, strict=True))
        for image, photo in chunk:
            if isinstance(photo, Image.Image):
                anomaly_map, scale_maps = next(results)
                score = detector.score(scale_maps)
                store.proposals.add(image, model, score, calibration.p_value(score), anomaly_map.numpy())
                added += 1
            else:
                errors[image] = str(photo)
        if progress is not None:
            progress(added + len(errors), len(missing))
        if should_stop():
            break
    return Scored(added, errors)
