"""Example pictures of a measurement: good images with a drawn defect of the size that is found in 90 % of cases."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from altub.data import Sample
from altub.errors import AltUBError
from altub.evaluation.detectability.measure import defective_image
from altub.evaluation.detectability.record import Detectability
from altub.files import explain_full_disk, read_json, write_atomically
from altub.inference.drawing import draw_verdict
from altub.inference.threshold import Threshold

if TYPE_CHECKING:
    from altub.inference.detector import AnomalyDetector

__all__ = [
    "EXAMPLES_FILE",
    "Example",
    "StoredExample",
    "draw_examples",
    "example_picture",
    "keep_examples",
    "main_contrast",
    "read_examples",
    "write_png",
]

#: In the folder of a result: all examples in one picture, and one by one.
EXAMPLES_FILE, EXAMPLES_FOLDER = "detectability-examples.png", "examples"
_INDEX = "examples.json"
SIDE = 256  # pixels of an example


def main_contrast(result: Detectability) -> float:
    """The contrast that a chart shows: the middle one of those tried."""
    return result.contrasts[(len(result.contrasts) - 1) // 2]


@dataclass(frozen=True)
class Example:
    """A good image with one drawn defect.

    Attributes:
        size: of the defect, in pixels of the image.
        found: the image is called defective.
        image, heatmap: within `SIDE` x `SIDE` pixels; a frame marks the defect, a line the marked area.
    """

    kind: str
    size: float
    found: bool
    image: Image.Image
    heatmap: Image.Image

    def words(self, result: Detectability) -> str:
        """Kind, size in the unit of the result, and whether it was found."""
        return _words(self.kind, self.size, self.found, result)


def _words(kind: str, size: float, found: bool, result: Detectability) -> str:
    scaled = size * (result.mm_per_pixel or 1.0)
    return f"{kind}, {scaled:.3g} {result.unit}, {'found' if found else 'missed'}"


def draw_examples(detector: AnomalyDetector, good: Sequence[Sample], result: Detectability) -> list[Example]:
    """For each kind a good image with a defect of its a90 (where there is none, of the a90 of all, or of the middle of
    the sizes tried), and its heatmap with the marked area."""
    contrast, threshold = main_contrast(result), Threshold.from_dict(result.threshold)
    calibration = detector.require_calibration()
    examples = []
    for place, kind in enumerate(result.kinds):
        sample = good[place % len(good)]
        size = _example_size(result, contrast, kind) / (result.mm_per_pixel or 1.0)
        with sample.opened(detector.config.pixel_range) as photo:
            image = np.asarray(photo, dtype=np.float32) / 255
        drawn = defective_image(image, kind, size, contrast, result.seed + place)
        defective = Image.fromarray(np.rint(drawn.image * 255).astype(np.uint8))
        prediction = detector.predict(defective)
        verdict = prediction.at(threshold)
        heat = draw_verdict(defective, prediction, verdict, calibration)
        tiles = (_tile(_framed(defective, drawn.mask)), _tile(heat))
        examples.append(Example(kind, size, verdict.is_anomalous, *tiles))
    return examples


def example_picture(examples: Sequence[Example], result: Detectability) -> Image.Image:
    """The examples side by side, each with its heatmap below."""
    return _sheet([(example.words(result), example.image, example.heatmap) for example in examples])


class StoredExample(BaseModel):
    """An example in its folder: names of PNG files, and of which measurement it is."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    kind: str = Field(max_length=100)
    size: float = Field(gt=0)
    found: bool
    image: Path
    heatmap: Path

    def words(self, result: Detectability) -> str:
        return _words(self.kind, self.size, self.found, result)


def read_examples(folder: Path, result: Detectability) -> list[StoredExample]:
    """The example pictures that `write_report` left for this result, their paths complete; none where they are missing
    or damaged, since a result is whole without them."""
    folder = folder / EXAMPLES_FOLDER
    try:
        content = read_json(folder / _INDEX)
        if content["weights_sha256"] != result.weights_sha256:
            return []
        found = [StoredExample.model_validate(entry) for entry in content["examples"]]
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return []
    # Only the name counts: a result may come from anywhere.
    return [
        one.model_copy(update={"image": folder / one.image.name, "heatmap": folder / one.heatmap.name}) for one in found
    ]


def keep_examples(folder: Path, examples: Sequence[Example], result: Detectability) -> None:
    """Writes the examples one by one into the folder of their result.

    Raises:
        DiskFullError: no room.
    """
    folder = folder / EXAMPLES_FOLDER
    with explain_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    for example in examples:
        names = {"image": f"{example.kind}.png", "heatmap": f"{example.kind}-heatmap.png"}
        write_png(folder / names["image"], example.image)
        write_png(folder / names["heatmap"], example.heatmap)
        entries.append({"kind": example.kind, "size": example.size, "found": example.found, **names})
    index = {"weights_sha256": result.weights_sha256, "examples": entries}
    write_atomically(folder / _INDEX, (json.dumps(index) + "\n").encode())


def write_png(path: Path, picture: Image.Image) -> None:
    """Writes the picture in one step."""
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    write_atomically(path, buffer.getvalue())


def _example_size(result: Detectability, contrast: float, kind: str) -> float:
    curve = result.curve(contrast, kind)
    for size in (curve.size_at(0.9), result.curve(contrast).size_at(0.9)):
        if size and math.isfinite(size):
            return size
    return float(np.sqrt(curve.sizes[0] * curve.sizes[-1]))


def _framed(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """The image with a thin frame around the defect, at some distance."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise AltUBError("The example has no defect: measure again.")
    gap = max(image.size) // 40 + 2
    framed = image.copy()
    box = (columns[0] - gap, rows[0] - gap, columns[-1] + gap, rows[-1] + gap)
    width = max(1, max(image.size) // 250)
    ImageDraw.Draw(framed).rectangle(tuple(map(int, box)), outline=(255, 255, 255), width=width)
    return framed


def _sheet(columns: Sequence[tuple[str, Image.Image, Image.Image]], gap: int = 8, line: int = 18) -> Image.Image:
    sheet = Image.new("RGB", (len(columns) * (SIDE + gap) - gap, 2 * (SIDE + gap) + line), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (words, *pictures) in enumerate(columns):
        left = place * (SIDE + gap)
        draw.text((left, 2), words, fill=(31, 41, 55))
        for row, picture in enumerate(pictures):
            sheet.paste(picture, (left, line + row * (SIDE + gap)))
    return sheet


def _tile(picture: Image.Image) -> Image.Image:
    tile = picture.convert("RGB")
    tile.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return tile
