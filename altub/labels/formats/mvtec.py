"""The layout of MVTec AD: one category.

    train/good/a.png, test/good/b.png, test/<type>/c.png, ground_truth/<type>/c_mask.png

Where there are defects, a fifth of the good images goes to the test set, always the same ones. A share of the defects
with masks may go where a training learns from them (`altub.data.layouts.mvtec`), not to the test set. The layout has
no place for "unsure" (left out), nor for notes, names of people, times and sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from altub.data.category import GOOD, set_aside
from altub.data.images import read_mask
from altub.data.layouts.folder import TEST_SHARE
from altub.data.layouts.mvtec import is_mvtec_category, load_mvtec_category
from altub.errors import DataError
from altub.labels.formats.folder import ExportFolder
from altub.labels.formats.item import Item

__all__ = ["matches", "read", "write"]

matches = is_mvtec_category


def write(items: Iterable[Item], out: ExportFolder, *, learned: float = 0.0) -> tuple[str, ...]:
    """Writes a category; returns sentences on what was left out.

    Args:
        learned: share of the defects with masks that a training learns from, about; by the names of their files, which
            are those of their content in the store.

    Raises:
        DataError: there is no good image, without which no training reads the category.
    """
    good, unsure, defects = [], 0, 0
    for item in items:
        if item.verdict == "good":
            good.append(item)
        elif item.verdict == "unsure":
            unsure += 1
        else:
            defects += 1
            is_learned = item.mask is not None and _place(item.path) < learned
            part, masks = ("train", "ground_truth_train") if is_learned else ("test", "ground_truth")
            path = out.add_image(item, f"{part}/{item.defect_type}")
            if item.mask is not None:
                out.add_mask(item.mask, Path(masks) / path.parent.name / f"{path.stem}_mask.png")
    if not good:
        raise DataError("The MVTec AD layout needs good images to train on: label at least one as good.")
    # The files of the store are named by their content, so that the choice does not depend on what a camera calls them.
    tested = set_aside([item.path for item in good], TEST_SHARE) if defects else set()
    for item in good:
        out.add_image(item, f"test/{GOOD}" if item.path in tested else f"train/{GOOD}")
    return (f"{unsure} images labelled unsure were left out.",) if unsure else ()


def _place(path: Path) -> float:
    """Of a file by its name, from 0 to 1, evenly and the same every time."""
    digest = hashlib.sha256(path.name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def read(folder: Path) -> Iterator[Item]:
    """The images of a category, those to train on first."""
    category = load_mvtec_category(folder)
    for sample in (*category.train, *category.known, *category.test):
        if sample.is_defective:
            mask = None if sample.mask_path is None else read_mask(sample.mask_path)
            yield Item(sample.path, sample.path.name, "defect", defect_type=sample.defect, mask=mask)
        else:
            yield Item(sample.path, sample.path.name, "good")
