"""A data set for the rest of the program: images, some defective, some of those with a mask."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from altub.data.images import ImageSource, PixelRange, is_image_file, opened, read_image, read_mask, resize_mask
from altub.files import printable

__all__ = [
    "GOOD",
    "MEMORY",
    "Category",
    "Sample",
    "find_mask",
    "image_files",
    "interleave_defects",
    "is_hidden",
    "note_on_masks",
    "set_aside",
    "subfolders",
]

#: Name of the class of images without a defect, in every layout.
GOOD = "good"
#: Layout of a category whose samples were given from Python.
MEMORY = "memory"


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    ``defect`` is "good" or the name of the defect's folder. ``mask_path`` is the image of its defective
    pixels, or None where there is none (a good image, or a defective one without an outline).
    ``image`` and ``mask`` hold what is in memory instead of in a file; ``path`` is then only a name.
    """

    path: Path
    defect: str = GOOD
    mask_path: Path | None = None
    image: ImageSource | None = field(default=None, compare=False, repr=False)
    mask: np.ndarray | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("path", "mask_path"):  # a program may give strings
            if isinstance(given := getattr(self, name), str):
                object.__setattr__(self, name, Path(given))
        object.__setattr__(self, "defect", printable(self.defect))  # a folder's name need not be text

    @property
    def is_defective(self) -> bool:
        return self.defect != GOOD

    @property
    def has_mask(self) -> bool:
        return self.mask is not None or self.mask_path is not None

    @property
    def source(self) -> ImageSource:
        """What to read the image from."""
        return self.path if self.image is None else self.image

    def read(self, pixel_range: PixelRange | None = None) -> Image.Image:
        """The image, upright and RGB; ImageError where it cannot be read."""
        return read_image(self.source, pixel_range=pixel_range)

    def opened(self, pixel_range: PixelRange | None = None) -> AbstractContextManager[Image.Image]:
        """`read` for the length of a block: other large images wait meanwhile."""
        return opened(self.source, pixel_range=pixel_range)

    def read_mask(self, size: tuple[int, int]) -> np.ndarray | None:
        """Its defective pixels as bool (H, W) of this size, or None where there is no mask."""
        if self.mask is not None:
            return resize_mask(np.asarray(self.mask, dtype=bool), size)
        return read_mask(self.mask_path, size) if self.mask_path is not None else None


@dataclass(frozen=True)
class Category:
    """One kind of product: good images to learn from and, where there are any, labelled images to test on.

    ``layout`` is "mvtec", "btad", "visa", "folder" or "memory". ``notes`` are sentences for the user about what was
    found, such as defective images without a mask. ``known`` are defective images with masks that a training may learn
    from (`altub.training.push`); they are never tested on.
    """

    name: str
    root: Path
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    layout: str
    notes: tuple[str, ...] = ()
    known: tuple[Sample, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name))  # a folder's name need not be text

    @classmethod
    def from_images(
        cls,
        name: str,
        good: Iterable[Sample | ImageSource],
        test: Iterable[Sample | ImageSource] = (),
        known: Iterable[Sample] = (),
    ) -> Category:
        """A category of samples, paths, encoded bytes, Pillow images or arrays (H, W[, C]); no folder is needed.

        Args:
            name: of the product.
            good: good images to train on.
            test: images to test on; anything but a `Sample` counts as good.
            known: defective samples with masks that a training may learn from.

        Example:
            >>> import numpy as np
            >>> parts = [np.full((64, 64, 3), grey, np.uint8) for grey in (100, 110, 120)]
            >>> Category.from_images("plate", parts).counts()["train"]
            3
        """
        return cls(
            name=name,
            root=Path(),
            train=tuple(_as_sample(item, f"good-{index:05d}") for index, item in enumerate(good)),
            test=tuple(_as_sample(item, f"test-{index:05d}") for index, item in enumerate(test)),
            layout=MEMORY,
            known=tuple(known),
        )

    @property
    def defective(self) -> tuple[Sample, ...]:
        """The defective test images."""
        return tuple(sample for sample in self.test if sample.is_defective)

    @property
    def defects(self) -> tuple[str, ...]:
        """Names of the kinds of defect, sorted."""
        return tuple(sorted({sample.defect for sample in self.defective}))

    def counts(self) -> dict[str, int]:
        """Number of images: ``train``, ``test_good``, ``test_defective`` and ``masks``."""
        defective = self.defective
        return {
            "train": len(self.train),
            "test_good": len(self.test) - len(defective),
            "test_defective": len(defective),
            "masks": sum(sample.has_mask for sample in defective),
        }


def _as_sample(item: Sample | ImageSource, name: str) -> Sample:
    if isinstance(item, Sample):
        return item
    return Sample(Path(item)) if isinstance(item, str | os.PathLike) else Sample(Path(name), image=item)


def interleave_defects(samples: Sequence[Sample]) -> list[int]:
    """Positions of the defective samples: the first of each kind of defect, then the second of each, and so on."""
    kinds: dict[str, list[int]] = {}
    for position, sample in enumerate(samples):
        if sample.is_defective:
            kinds.setdefault(sample.defect, []).append(position)
    rounds = zip_longest(*kinds.values())
    return [position for positions in rounds for position in positions if position is not None]


def is_hidden(path: Path) -> bool:
    """True for dot files and for what macOS leaves in archives."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def image_files(folder: Path) -> list[Path]:
    """The images directly in a folder, sorted by name; none where there is no such folder.

    A mask that lies beside its image (``a.png`` and ``a_mask.png``) is not counted as an image.
    """
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if not is_hidden(path) and is_image_file(path) and path.is_file()]
    stems = {path.stem for path in files}
    return sorted((path for path in files if not _is_mask_beside(path, stems)), key=lambda path: path.name)


def _is_mask_beside(path: Path, stems: Iterable[str]) -> bool:
    return path.stem.endswith("_mask") and path.stem.removesuffix("_mask") in stems


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and not is_hidden(path)]
    return sorted(found, key=lambda path: path.name)


def find_mask(masks: Iterable[Path], stem: str) -> Path | None:
    """The mask of an image by its name, whatever their suffixes; ``000_mask.png`` is preferred to ``000.png``."""
    by_stem = {path.stem: path for path in masks}
    return by_stem.get(f"{stem}_mask") or by_stem.get(stem)


def note_on_masks(test: Iterable[Sample]) -> tuple[str, ...]:
    """A sentence where defective images have no mask, though the layout has a place for them."""
    defective = [sample for sample in test if sample.is_defective]
    without = [sample for sample in defective if not sample.has_mask]
    if not without:
        return ()
    example = printable(without[0].path.name)
    return (
        f"{len(without)} of {len(defective)} defective test images have no mask ({example} is one): they count for "
        "image-level metrics only.",
    )


def set_aside(paths: Sequence[Path], share: float) -> set[Path]:
    """A share of the images, at least one, for testing: those whose names have the smallest SHA-256, so that the
    choice is the same every time and hardly changes when images are added. A single image stays for training."""
    if len(paths) < 2:
        return set()
    count = max(1, round(share * len(paths)))

    def digest(path: Path) -> bytes:
        return hashlib.sha256(path.name.encode(errors="surrogateescape")).digest()

    return set(sorted(paths, key=digest)[:count])
