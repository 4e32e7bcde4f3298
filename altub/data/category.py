"""What a data set is to the rest of the program: pictures, some defective, some of those with a mask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from altub.data.images import is_image_file

__all__ = [
    "GOOD",
    "Category",
    "Sample",
    "find_mask",
    "image_files",
    "is_hidden",
    "note_on_masks",
    "set_aside",
    "subfolders",
]

#: Name of the class of pictures without a defect, in every layout.
GOOD = "good"


@dataclass(frozen=True)
class Sample:
    """One picture of a data set.

    ``defect`` is "good" or the name of the defect's folder. ``mask_path`` is the picture of its defective
    pixels, or None where there is none (a good picture, or a defective one that nobody has outlined).
    """

    path: Path
    defect: str
    mask_path: Path | None = None

    @property
    def is_defective(self) -> bool:
        return self.defect != GOOD


@dataclass(frozen=True)
class Category:
    """One kind of product: good pictures to learn from and, where there are any, labelled pictures to test on.

    ``layout`` is "mvtec", "btad", "visa" or "folder". ``notes`` are sentences for the user about what was found, such
    as defective pictures without a mask.
    """

    name: str
    root: Path
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    layout: str
    notes: tuple[str, ...] = ()

    @property
    def defective(self) -> tuple[Sample, ...]:
        """The defective test pictures."""
        return tuple(sample for sample in self.test if sample.is_defective)

    @property
    def defects(self) -> tuple[str, ...]:
        """Names of the kinds of defect, sorted."""
        return tuple(sorted({sample.defect for sample in self.defective}))

    @property
    def has_defects(self) -> bool:
        """True where image-level metrics can be computed on the defective side."""
        return any(sample.is_defective for sample in self.test)

    @property
    def has_masks(self) -> bool:
        """True where at least one defective picture has a mask; `missing_masks` reports those without."""
        return any(sample.mask_path is not None for sample in self.defective)

    @property
    def missing_masks(self) -> tuple[Sample, ...]:
        """Defective test pictures without a mask: they count for image-level metrics only."""
        return tuple(sample for sample in self.defective if sample.mask_path is None)

    def counts(self) -> dict[str, int]:
        """Number of pictures: ``train``, ``test_good``, ``test_defective`` and ``masks``."""
        defective = self.defective
        return {
            "train": len(self.train),
            "test_good": len(self.test) - len(defective),
            "test_defective": len(defective),
            "masks": sum(sample.mask_path is not None for sample in defective),
        }


def is_hidden(path: Path) -> bool:
    """True for dot files and for what macOS leaves in archives."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def image_files(folder: Path) -> list[Path]:
    """The pictures directly in a folder, sorted by name; a folder that is not there has none.

    A mask that lies beside its picture (``a.png`` and ``a_mask.png``) is not counted as a picture.
    """
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if not is_hidden(path) and is_image_file(path) and path.is_file()]
    stems = {path.stem for path in files}
    return sorted((path for path in files if not _is_mask_beside(path, stems)), key=lambda path: path.name)


def _is_mask_beside(path: Path, stems: Iterable[str]) -> bool:
    return path.stem.endswith("_mask") and path.stem.removesuffix("_mask") in stems


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name; a folder that is not there has none."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and not is_hidden(path)]
    return sorted(found, key=lambda path: path.name)


def find_mask(masks: Iterable[Path], stem: str) -> Path | None:
    """The mask of a picture by its name, whatever their endings; ``000_mask.png`` goes before a plain ``000.png``."""
    by_stem = {path.stem: path for path in masks}
    return by_stem.get(f"{stem}_mask") or by_stem.get(stem)


def note_on_masks(test: Iterable[Sample]) -> tuple[str, ...]:
    """A sentence where defective pictures have no mask, though the layout has a place for them."""
    defective = [sample for sample in test if sample.is_defective]
    without = [sample for sample in defective if sample.mask_path is None]
    if not without:
        return ()
    return (
        f"{len(without)} of {len(defective)} defective test images have no mask ({without[0].path.name} is one): they "
        "count for image-level metrics only.",
    )


def set_aside(paths: Sequence[Path], share: float) -> set[Path]:
    """A share of the pictures, at least one, for testing: those whose names have the smallest SHA-256, so that the
    choice is the same every time and hardly changes when pictures are added. A single picture is not taken away."""
    if len(paths) < 2:
        return set()
    count = max(1, round(share * len(paths)))
    return set(sorted(paths, key=lambda path: hashlib.sha256(path.name.encode()).digest())[:count])
