"""A batch as the page shows it: which model inspected it, and its photos at the size of a screen.

The photos lie beside the maps, in the batch's folder (`<number>.jpg`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from altub.files import explain_full_disk
from altub.inference.batch import Batch, Inspected
from altub.inference.threshold import Threshold

__all__ = ["JPEG", "SCREEN_SIDE", "PageBatch", "for_screen", "photo_writer"]

THUMBNAIL_SIDE = 88  # pixels: twice what the list shows

SCREEN_SIDE = 1600  # longest side, in pixels, of what is sent to a browser
JPEG = {"quality": 92, "subsampling": 0}


@dataclass(frozen=True, kw_only=True)
class PageBatch(Batch):
    """Images that one model of the page inspected.

    Attributes:
        run_id, weights_sha256: the model's.
        title: of the model, for people.
        own_threshold: that the model was given; None: the calibration's at the default rate.
        score_share: share of the highest pixels that the score is the mean of; 0: it is the maximum.
        scale_titles: one for each scale map.
    """

    run_id: str
    weights_sha256: str
    title: str
    score_share: float
    scale_titles: tuple[str, ...]
    own_threshold: Threshold | None = None

    def thumbnail_file(self, item: Inspected) -> Path:
        """The photo as the list shows it."""
        return _thumbnail_file(self.folder, item.number)

    def screen_file(self, item: Inspected) -> Path:
        """The photo as it is sent to the browser."""
        return _photo_file(self.folder, item.number)

    def map_file(self, item: Inspected) -> Path:
        """The anomaly map as it is sent to the browser (`altub.ui.inspect.blend`); made when it is first shown."""
        return self.folder / f"{item.number}-map.png"


def photo_writer(folder: Path) -> Callable[[int, Image.Image], None]:
    """Keeps photos for the screen in a batch's folder: the `on_photo` of `inspect_images`."""

    def write(number: int, photo: Image.Image) -> None:
        path = _photo_file(folder, number)
        with explain_full_disk(path):
            shown = for_screen(photo)
            shown.save(path, **JPEG)
            small = shown.copy()
            small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            small.save(_thumbnail_file(folder, number), quality=80)

    return write


def for_screen(image: Image.Image) -> Image.Image:
    """The image, scaled down if it has more pixels than a screen shows."""
    if max(image.size) <= SCREEN_SIDE:
        return image
    scale = SCREEN_SIDE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)


def _photo_file(folder: Path, number: int) -> Path:
    return folder / f"{number}.jpg"


def _thumbnail_file(folder: Path, number: int) -> Path:
    return folder / f"{number}-small.jpg"
