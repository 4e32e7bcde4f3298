"""Example images for a model: a few from the test set of its category.

The page shows thumbnails and receives positions in this list, never paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from altub.data import Category, Sample, load_category, read_thumbnail
from altub.data.category import interleave_defects
from altub.errors import DataError, RunError
from altub.files import printable
from altub.inference.batch import Source
from altub.runs.run import Run

__all__ = ["Example", "choose_examples", "examples_of"]

SHOWN = 12
GOOD_SHOWN = 3  # of them good, at least
THUMBNAIL_SIDE = 160  # pixels


@dataclass(frozen=True)
class Example:
    """An image with its caption and thumbnail."""

    source: Source
    caption: str
    thumbnail: Image.Image


def examples_of(run: Run) -> list[Example]:
    """Examples for a run; none where its data was moved or has no test set."""
    try:
        config = run.config
        category = load_category(config.data, config.category)
    except (DataError, RunError):
        return []
    examples = []
    for sample in choose_examples(category):
        picture = _thumbnail_of(sample.path)
        if picture is not None:
            source = Source(sample.path, f"{sample.defect}/{printable(sample.path.name)}")
            examples.append(Example(source, source.name, picture))
    return examples


def choose_examples(category: Category) -> list[Sample]:
    """A few test images: one of each defect type in turn, then good ones."""
    defective = [category.test[position] for position in interleave_defects(category.test)]
    good = [sample for sample in category.test if not sample.is_defective]
    good = good[: max(SHOWN - len(defective), GOOD_SHOWN)]
    return defective[: SHOWN - len(good)] + good


def _thumbnail_of(path: Path) -> Image.Image | None:
    """A small copy; None where the file is no longer an image."""
    try:
        return _thumbnail(path, path.stat().st_mtime_ns)
    except (OSError, DataError):
        return None


@lru_cache(maxsize=256)
def _thumbnail(path: Path, changed: int) -> Image.Image:
    """`changed`, the file's time of change, makes a new version a new entry."""
    return read_thumbnail(path, THUMBNAIL_SIDE)
