"""A plain folder of good images, for users who have images of their own and no data set.

    <folder>/*.png                      good images, or in <folder>/good/
    <folder>/defect/*.png               defective images (also: bad, defects, ...), or in subfolders by kind
    <folder>/test/good, test/<defect>   a separate test set, instead or in addition
    <folder>/masks/<name>.png           masks by the image's name, or <name>_mask.png, or in masks/<defect>/

Only the good images are needed. Where there are defective ones but no ``test/good``, a fifth of the good
images (at least one, if at least two are there) is kept for testing: those whose names have the smallest
SHA-256, so that the choice is the same every time and hardly changes when images are added. With good
images alone the test set is empty. Folder names are read in any case.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from altub.data.category import GOOD, Category, Sample, find_mask, image_files, is_hidden, set_aside
from altub.errors import DataError

__all__ = ["TEST_SHARE", "is_plain_folder", "load_plain_folder"]

#: Share of the good images that is kept for testing where there are defective ones but no ``test/good``.
TEST_SHARE = 0.2

_GOOD_FOLDERS = ("good", "ok", "normal")
_DEFECT_FOLDERS = ("defect", "defects", "defective", "bad", "ng", "nok", "anomaly", "anomalous", "abnormal")
_MASK_FOLDERS = ("masks", "mask", "ground_truth")


def is_plain_folder(folder: Path) -> bool:
    """True where the folder holds images directly or has a subfolder for the good ones."""
    return bool(image_files(folder)) or any(name in _subfolders(folder) for name in _GOOD_FOLDERS)


def load_plain_folder(folder: Path) -> Category:
    """List a plain folder; the category is named after it.

    Raises:
        DataError: there are no good images.
    """
    subfolders = _subfolders(folder)
    good_folder = next((subfolders[name] for name in _GOOD_FOLDERS if name in subfolders), folder)
    good = image_files(good_folder)
    if not good:
        raise DataError(f"There is no image in {good_folder}: put the good images to learn from there.")

    test_good: list[Path] = []
    defective: list[tuple[str, Path]] = []
    for name in _DEFECT_FOLDERS:
        if name in subfolders:
            defective += [(subfolders[name].name, path) for path in image_files(subfolders[name])]
            for kind in _subfolders(subfolders[name]).values():
                defective += [(kind.name, path) for path in image_files(kind)]
    if "test" in subfolders:
        for name, kind in _subfolders(subfolders["test"]).items():
            if name in _GOOD_FOLDERS:
                test_good += image_files(kind)
            elif name not in _MASK_FOLDERS:
                defective += [(kind.name, path) for path in image_files(kind)]

    if defective and not test_good:
        kept = set_aside(good, TEST_SHARE)
        test_good = [path for path in good if path in kept]
        good = [path for path in good if path not in kept]

    train = tuple(Sample(path, GOOD) for path in good)
    test = [Sample(path, GOOD) for path in test_good] + _with_masks(defective, subfolders)
    return Category(folder.name, folder, train, tuple(sorted(test, key=lambda s: (s.defect, s.path))), "folder")


def _subfolders(folder: Path) -> dict[str, Path]:
    """Subfolders by their name in lower case, sorted."""
    if not folder.is_dir():
        return {}
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path))
    return {path.name.lower(): path for path in found}


def _with_masks(defective: list[tuple[str, Path]], subfolders: dict[str, Path]) -> list[Sample]:
    folder = next((subfolders[name] for name in _MASK_FOLDERS if name in subfolders), None)
    times = Counter(path.stem for _, path in defective)
    samples = []
    for defect, path in defective:
        mask = None
        if folder is not None:
            mask = find_mask(image_files(folder / defect), path.stem)
            # masks/000.png says nothing about which of two images named 000 it belongs to
            if mask is None and times[path.stem] == 1:
                mask = find_mask(image_files(folder), path.stem)
        samples.append(Sample(path, defect, mask))
    return samples
