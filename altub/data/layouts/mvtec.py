"""The layout of MVTec AD: one folder a category, good images to train on, masks for the defective ones.

    <root>/<category>/train/good/000.png
    <root>/<category>/test/good/000.png, <root>/<category>/test/<defect>/000.png
    <root>/<category>/ground_truth/<defect>/000_mask.png

Beyond MVTec AD, defects that a training may learn from (`Category.known`), each with a mask:

    <root>/<category>/train/<defect>/000.png, <root>/<category>/ground_truth_train/<defect>/000_mask.png

Any category and any subset of them may be there. P. Bergmann, M. Fauser, D. Sattlegger, C. Steger, "MVTec AD:
A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection", CVPR 2019,
https://www.mvtec.com/company/research/datasets/mvtec-ad
"""

from __future__ import annotations

from pathlib import Path

from altub.data.category import GOOD, Category, Sample, find_mask, image_files, subfolders
from altub.errors import DataError

__all__ = ["MVTEC_CATEGORIES", "is_mvtec_category", "load_mvtec_category"]

MVTEC_CATEGORIES = (
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
)


def is_mvtec_category(folder: Path) -> bool:
    """True where the folder looks like one MVTec AD category."""
    return (folder / "train" / GOOD).is_dir()


def load_mvtec_category(folder: Path) -> Category:
    """List one category. Images are sorted by defect and by file name; a mask that is missing is None.

    Raises:
        DataError: there is no image in ``train/good``.
    """
    train = tuple(Sample(path, GOOD) for path in image_files(folder / "train" / GOOD))
    if not train:
        raise DataError(
            f"There is no image in {folder / 'train' / GOOD}: the good images to learn from belong there. "
            "If they came from an archive, extract it again."
        )
    test: list[Sample] = []
    for defect in subfolders(folder / "test"):
        masks = image_files(folder / "ground_truth" / defect.name)
        for path in image_files(defect):
            mask = None if defect.name == GOOD else find_mask(masks, path.stem)
            test.append(Sample(path, defect.name, mask))
    return Category(folder.name, folder, train, tuple(test), "mvtec", known=_known_defects(folder))


def _known_defects(folder: Path) -> tuple[Sample, ...]:
    """Those with a mask; without one nothing says where to learn from."""
    found = []
    for defect in subfolders(folder / "train"):
        masks = image_files(folder / "ground_truth_train" / defect.name)
        for path in image_files(defect) if defect.name != GOOD else ():
            mask = find_mask(masks, path.stem)
            if mask is not None:
                found.append(Sample(path, defect.name, mask))
    return tuple(found)
