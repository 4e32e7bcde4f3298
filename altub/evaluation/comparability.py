"""How many images a model calls not comparable: of its test set, of the same changed as a whole, of other products.

    python -m altub.evaluation.comparability --model runs/bottle/model --data data/mvtec --category bottle \\
      --others data/mvtec/screw sample/fabric

Prints a row of a Markdown table for each kind of images, with the reasons that were given.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageFilter, ImageOps

from altub.data import Sample, load_category
from altub.errors import ModelError
from altub.inference.comparability import UNCHECKED
from altub.inference.detector import AnomalyDetector

__all__ = ["CHANGES", "refused"]

_BLUR = 0.012  # of the longer side, standard deviation: 3 pixels of 256


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


#: What is done to a whole image -> how.
CHANGES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "grey": lambda image: image.convert("L").convert("RGB"),
    "inverted": ImageOps.invert,
    "strongly blurred": lambda image: image.filter(ImageFilter.GaussianBlur(_BLUR * max(image.size))),
    "JPEG, quality 10": lambda image: _jpeg(image, 10),
}


def refused(detector: AnomalyDetector, images: Iterable[Image.Image]) -> tuple[int, Counter[str]]:
    """How many images there are, and the first reasons of those that are called not comparable.

    Raises:
        ModelError: the model has no check.
    """
    if detector.comparability is None:
        raise ModelError(UNCHECKED)
    count, reasons = 0, Counter[str]()
    for image in images:
        count += 1
        if found := detector.reasons(image):
            reasons[found[0]] += 1
    return count, reasons


def _opened(detector: AnomalyDetector, samples: Sequence[Sample]) -> Iterator[Image.Image]:
    for sample in samples:
        with sample.opened(detector.config.pixel_range) as image:
            yield image.copy()


def main() -> None:
    parser = argparse.ArgumentParser(description="How many images a model calls not comparable.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", default="sample")
    parser.add_argument("--category", required=True)
    parser.add_argument("--others", nargs="*", default=[], help="other products: DATA/CATEGORY, such as sample/label")
    given = parser.parse_args()
    detector = AnomalyDetector.load(given.model)
    category = load_category(given.data, given.category)
    good = [sample for sample in category.test if not sample.is_defective]
    rows: list[tuple[str, Iterable[Image.Image]]] = [
        ("good", _opened(detector, good)),
        ("defective", _opened(detector, category.defective)),
    ]
    rows += [(name, map(change, _opened(detector, good))) for name, change in CHANGES.items()]
    for other in given.others:
        data, _, name = other.rpartition("/")
        rows.append((f"another product: {name}", _opened(detector, load_category(data or "sample", name).test)))
    for name, images in rows:
        count, reasons = refused(detector, images)
        told = "; ".join(f"{reason} ({number})" for reason, number in reasons.most_common())
        print(f"| {given.category} | {name} | {reasons.total()} of {count} | {told} |", flush=True)


if __name__ == "__main__":
    main()
