"""The layout of BTAD, the paper's second benchmark: three products, 01, 02 and 03.

    <root>/01/train/ok/0001.bmp
    <root>/01/test/ok/0003.bmp, <root>/01/test/ko/0000.bmp
    <root>/01/ground_truth/ko/0000.png

Images and masks are .bmp in one product and .png in another, and a mask need not end like its image: they belong
together by the name before the ending. The archive unpacks to ``BTech_Dataset_transformed``; that folder is the root.
P. Mishra, R. Verk, D. Fornasier, C. Piciarelli, G. L. Foresti, "VT-ADL: A Vision Transformer Network for Image Anomaly
Detection and Localization", ISIE 2021, https://arxiv.org/abs/2104.10036
"""

from __future__ import annotations

from pathlib import Path

from altub.data.category import GOOD, Category, Sample, find_mask, image_files, note_on_masks, subfolders
from altub.errors import DataError

__all__ = ["is_btad_category", "load_btad_category"]

_OK = "ok"


def is_btad_category(folder: Path) -> bool:
    """True where the folder looks like one BTAD product."""
    return (folder / "train" / _OK).is_dir()


def load_btad_category(folder: Path) -> Category:
    """List one product: ``ok`` is "good", every other folder of ``test`` names a defect (in BTAD it is ``ko`` alone).

    A defective image without a mask counts for image-level metrics only; a note says how many there are.

    Raises:
        DataError: there is no image in ``train/ok``.
    """
    train = tuple(Sample(path, GOOD) for path in image_files(folder / "train" / _OK))
    if not train:
        raise DataError(
            f"There is no image in {folder / 'train' / _OK}: the good images to learn from belong there. "
            "If they came from an archive, extract it again."
        )
    test: list[Sample] = []
    for kind in subfolders(folder / "test"):
        if kind.name == _OK:
            test += [Sample(path, GOOD) for path in image_files(kind)]
            continue
        masks = image_files(folder / "ground_truth" / kind.name)
        test += [Sample(path, kind.name, find_mask(masks, path.stem)) for path in image_files(kind)]
    test.sort(key=lambda sample: (sample.defect, sample.path.name))
    return Category(folder.name, folder, train, tuple(test), "btad", note_on_masks(test))
