"""The layout of VisA as it is published, twelve products with one list that says what is for training.

    <root>/<category>/Data/Images/Normal/0000.JPG, Data/Images/Anomaly/000.JPG
    <root>/<category>/Data/Masks/Anomaly/000.png      0 = good, small numbers = kinds of defect
    <root>/<category>/image_anno.csv                  image,label,mask: the kinds of defect of each image in words
    <root>/split_csv/1cls.csv                         object,split,label,image,mask: who trains and who tests

Where 1cls.csv is, it decides: published numbers are measured on its split. Where it is not, a tenth of the normal
images (at least one), chosen by the hash of their names, and all defective ones are for testing, and a note says so.
What the authors' prepare_data.py makes of it (VisA_pytorch/1cls) is in the MVTec AD layout and read as such. Y. Zou,
J. Jeong, L. Pemula, D. Zhang, O. Dabeer, "SPot-the-Difference Self-supervised Pre-training for Anomaly Detection and
Segmentation", ECCV 2022, https://arxiv.org/abs/2207.14315
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from altub.data.category import GOOD, Category, Sample, find_mask, image_files, note_on_masks, set_aside
from altub.errors import DataError

__all__ = ["TEST_SHARE", "is_visa_category", "load_visa_category"]

#: Share of the normal images that tests where there is no split file; 1cls.csv takes the same.
TEST_SHARE = 0.1

_NORMAL, _ANOMALY = Path("Data/Images/Normal"), Path("Data/Images/Anomaly")
_MASKS = Path("Data/Masks/Anomaly")
_SPLIT = Path("split_csv/1cls.csv")
_SPLIT_COLUMNS = ("object", "split", "label", "image", "mask")
_UNNAMED = "anomaly"  # a defective image that image_anno.csv says nothing about


def is_visa_category(folder: Path) -> bool:
    """True where the folder looks like one VisA category as published."""
    return (folder / _NORMAL).is_dir()


def load_visa_category(folder: Path) -> Category:
    """List one category by the split file beside it, or by a split of our own where there is none.

    Raises:
        DataError: there is no normal image, the split file cannot be read, has no line about the category, or names
            files that are not there.
    """
    if not image_files(folder / _NORMAL):
        raise DataError(
            f"There is no image in {folder / _NORMAL}: the normal images to learn from belong there. "
            "If they came from an archive, extract it again."
        )
    kinds = _kinds_of_defect(folder)
    split_file = folder.parent / _SPLIT
    if split_file.is_file():
        train, test, notes = _published_split(folder, split_file, kinds)
    else:
        train, test, notes = _own_split(folder, kinds)
    test.sort(key=lambda sample: (sample.defect, sample.path.name))
    return Category(folder.name, folder, tuple(train), tuple(test), "visa", (*notes, *note_on_masks(test)))


def _own_split(folder: Path, kinds: dict[str, str]) -> tuple[list[Sample], list[Sample], list[str]]:
    good = image_files(folder / _NORMAL)
    kept = set_aside(good, TEST_SHARE)
    masks = image_files(folder / _MASKS)
    test = [Sample(path, GOOD) for path in good if path in kept]
    for path in image_files(folder / _ANOMALY):
        test.append(Sample(path, kinds.get(path.name, _UNNAMED), find_mask(masks, path.stem)))
    note = (
        f"There is no {_SPLIT} beside {folder.name}, so AltUB chose {len(kept)} of the {len(good)} normal images for "
        "testing: figures are not comparable with published ones."
    )
    return [Sample(path, GOOD) for path in good if path not in kept], test, [note]


def _published_split(
    folder: Path, split_file: Path, kinds: dict[str, str]
) -> tuple[list[Sample], list[Sample], list[str]]:
    root, parts = folder.parent, {"train": [], "test": []}
    missing: list[str] = []
    for row in _rows(split_file, _SPLIT_COLUMNS):
        if row["object"] != folder.name:
            continue
        if row["split"] not in parts:
            raise DataError(f"{split_file} has the split {row['split']!r}: expected is train or test.")
        path = _below(root, row["image"], split_file)
        defect = GOOD if row["label"] == "normal" else kinds.get(path.name, _UNNAMED)
        if defect != GOOD and row["split"] == "train":
            raise DataError(
                f"{split_file} trains on defective images ({row['image']}), which AltUB does not: use 1cls.csv of VisA."
            )
        mask = _below(root, row["mask"], split_file) if row["mask"] and defect != GOOD else None
        missing += [str(file.relative_to(root)) for file in (path, mask) if file is not None and not file.is_file()]
        parts[row["split"]].append(Sample(path, defect, mask))
    if not parts["train"]:
        raise DataError(
            f"{split_file} has no training image of {folder.name}: add its lines, or move {folder.name} into a folder "
            "without a split_csv to have it split by AltUB."
        )
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{split_file} names {missing[0]}{more}, not in {root}: extract the archive of VisA again, or move "
            "split_csv away to have AltUB split what is there."
        )
    notes = []
    listed = {sample.path for samples in parts.values() for sample in samples}
    left = [p for part in (_NORMAL, _ANOMALY) for p in image_files(folder / part) if p not in listed]
    if left:
        notes.append(f"Left out, for {_SPLIT} has no line of them: {len(left)} images such as {left[0].name}.")
    train = sorted(parts["train"], key=lambda sample: sample.path.name)
    return train, parts["test"], notes


def _kinds_of_defect(folder: Path) -> dict[str, str]:
    """The kinds of defect in words by the name of a defective image; empty where image_anno.csv is missing."""
    file = folder / "image_anno.csv"
    if not file.is_file():
        return {}
    kinds = {}
    for row in _rows(file, ("image", "label")):
        image = PurePosixPath(row["image"])
        names = [re.sub(r"[^\w-]+", "_", name.strip()) for name in row["label"].split(",")]
        if image.parent.name == _ANOMALY.name and any(names):
            kinds[image.name] = "+".join(dict.fromkeys(filter(None, names)))
    return kinds


def _rows(file: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The lines of a CSV file by the names of its columns.

    Raises:
        DataError: it is no such file.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            if not set(columns) <= set(reader.fieldnames or ()):
                raise DataError(f"{file} has no columns {', '.join(columns)}: take it from the archive of VisA again.")
            for row in reader:
                yield {name: (row[name] or "").strip() for name in columns}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is damaged: take it from the archive of VisA again.") from error


def _below(root: Path, name: str, file: Path) -> Path:
    """The path of a file that a list names, if it stays below the data set's folder."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DataError(f"{file} names {name!r}, which is no file of the data set: take it from the archive again.")
    return root / path
