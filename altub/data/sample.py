"""The built-in sample: three products drawn from random numbers, so that everything works without a download.

`make_sample` writes them once in the MVTec AD layout. Every image follows from the seed, the category, its
folder and its number alone: the same seed gives the same bytes. A defective image is drawn twice with the
same product, once without its defect; its mask is an outline around the pixels that differ noticeably.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from zlib import crc32

import numpy as np
from filelock import FileLock
from PIL import Image

from altub import settings
from altub.data.category import GOOD, Category, Sample
from altub.data.products import bracket, fabric, label
from altub.data.products.drawing import SIZE, changed_pixels, photograph
from altub.errors import DataError, DiskFullError

__all__ = [
    "SAMPLE_CATEGORIES",
    "SAMPLE_VERSION",
    "Example",
    "ensure_sample",
    "make_sample",
    "outline_sample",
    "render_example",
]

#: Goes up whenever the images change; a sample of another version is replaced.
SAMPLE_VERSION = 3

_PRODUCTS: dict[str, ModuleType] = {"bracket": bracket, "fabric": fabric, "label": label}
#: The categories and their kinds of defect.
SAMPLE_CATEGORIES: dict[str, tuple[str, ...]] = {name: p.DEFECTS for name, p in _PRODUCTS.items()}

_TRAIN_GOOD, _TEST_GOOD, _TEST_EACH_DEFECT = 64, 16, 6
# Training images are drawn from here on. Those from 0 on, of version 2, were an unlucky draw: fabric had none of the
# most unusual pieces, so that a threshold set by its held-out images called a third of new good ones defective.
_FIRST_TRAIN = 1000
_MARKER = "altub-sample.json"
_LOCK_TIMEOUT = 300  # seconds; another process is drawing meanwhile
_THREADS = 4


@dataclass(frozen=True)
class Example:
    """One drawn image, (SIZE, SIZE) RGB, and its defect's mask, bool (SIZE, SIZE), empty for a good one."""

    image: Image.Image
    mask: np.ndarray


def render_example(category: str, defect: str = GOOD, index: int = 0, *, seed: int = 0, split: str = "test") -> Example:
    """Draw one image of the sample in memory, the same that `make_sample` writes.

    Args:
        category: a key of `SAMPLE_CATEGORIES`.
        defect: "good" or one of the category's defects.
        index: number of the image in its folder, from 0 on, without an upper bound.
        seed: seed of the sample.
        split: "train" or "test"; decides with the others on the random numbers.

    Raises:
        DataError: there is no such category or defect.
    """
    product = _PRODUCTS.get(category)
    if product is None or not (defect == GOOD or defect in product.DEFECTS):
        known = ", ".join(_PRODUCTS) if product is None else ", ".join((GOOD, *product.DEFECTS))
        raise DataError(f"The sample has no {category!r} with {defect!r}. There is: {known}.")

    first = _FIRST_TRAIN if split == "train" else 0

    def stream(purpose: int) -> np.random.Generator:
        key = f"{category}/{split}/{defect}".encode()
        return np.random.default_rng([seed, crc32(key), first + index, purpose])

    good = product.render(stream(0), stream(1), None)
    if defect == GOOD:
        return Example(photograph(good, stream(2)), np.zeros((SIZE, SIZE), dtype=bool))
    defective = product.render(stream(0), stream(1), defect)
    return Example(photograph(defective, stream(2)), changed_pixels(good, defective))


def ensure_sample(progress: Callable[[int, int], None] | None = None) -> Path:
    """The sample's folder under the data root, made first if it is not there or from another version."""
    return make_sample(settings.data_root() / "sample", progress=progress)


def outline_sample(category: str) -> Category:
    """A category of the sample under the data root as it will be, whether or not it was drawn yet.

    Raises:
        DataError: there is no such category.
    """
    if category not in SAMPLE_CATEGORIES:
        raise DataError(f"The sample has no {category!r}. There is: {', '.join(_PRODUCTS)}.")
    folder = settings.data_root() / "sample" / category

    def samples(split: str, defect: str, count: int) -> list[Sample]:
        return [Sample(folder / split / defect / f"{k:03d}.png", defect) for k in range(count)]

    test = samples("test", GOOD, _TEST_GOOD)
    for defect in SAMPLE_CATEGORIES[category]:
        test += samples("test", defect, _TEST_EACH_DEFECT)
    return Category(category, folder, tuple(samples("train", GOOD, _TRAIN_GOOD)), tuple(test), "mvtec")


def make_sample(root: str | Path, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> Path:
    """Write the sample to ``root`` unless it is there already; return ``root``.

    It is drawn in a temporary folder beside ``root`` and renamed when it is complete, under a lock: nobody
    sees half of it, and two processes that ask for it at the same time make it once. A folder with anything
    else in it is left alone.

    Args:
        root: folder of the sample; the categories are its subfolders.
        seed: another seed gives other images of the same products.
        progress: called with the number of images written and the number of all, from several threads in
            turn.

    Raises:
        DataError: ``root`` holds something else, or cannot be written.
        DiskFullError: there is no room; nothing is left behind.
    """
    root = Path(os.path.abspath(Path(root).expanduser()))
    wanted = {"version": SAMPLE_VERSION, "seed": seed}
    if _marker(root) == wanted:
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.parent / f".{root.name}.lock", timeout=_LOCK_TIMEOUT):
            if _marker(root) != wanted:  # another process may have made it while this one waited
                _replace(root, wanted, seed, progress)
    except TimeoutError as error:  # filelock.Timeout is one
        raise DataError(f"Another process is still making {root}: wait for it and try again.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"The disk is full: the sample needs about 40 MB in {root.parent}.") from error
        raise DataError(f"The sample cannot be written to {root}: {error.strerror or error}.") from error
    return root


def _marker(root: Path) -> dict[str, int] | None:
    try:
        return json.loads((root / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing, or not a sample
        return None


def _replace(root: Path, marker: dict[str, int], seed: int, progress: Callable[[int, int], None] | None) -> None:
    if root.exists() and not (root / _MARKER).exists() and any(root.iterdir()):
        raise DataError(f"{root} holds something else: move it away, or choose another data root (ALTUB_DATA).")
    for left in root.parent.glob(f".{root.name}-*"):  # by a killed process; this one holds the lock
        shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        _write(made, seed, progress)
        (made / _MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")
        made.chmod(0o755)  # mkdtemp's folders are private
        old = made.with_name(f"{made.name}-old")
        with contextlib.suppress(FileNotFoundError):
            root.rename(old)
        made.rename(root)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:  # also on Ctrl+C: half a sample is removed
        shutil.rmtree(made, ignore_errors=True)
        raise


def _write(folder: Path, seed: int, progress: Callable[[int, int], None] | None) -> None:
    jobs = []
    for category, defects in SAMPLE_CATEGORIES.items():
        jobs += [(category, "train", GOOD, k) for k in range(_TRAIN_GOOD)]
        jobs += [(category, "test", GOOD, k) for k in range(_TEST_GOOD)]
        jobs += [(category, "test", defect, k) for defect in defects for k in range(_TEST_EACH_DEFECT)]
    for category, split, defect, _ in jobs:
        (folder / category / split / defect).mkdir(parents=True, exist_ok=True)
        if defect != GOOD:
            (folder / category / "ground_truth" / defect).mkdir(parents=True, exist_ok=True)

    def draw(job: tuple[str, str, str, int]) -> None:
        category, split, defect, index = job
        example = render_example(category, defect, index, seed=seed, split=split)
        example.image.save(folder / category / split / defect / f"{index:03d}.png", compress_level=3)
        if defect != GOOD:
            mask = Image.fromarray(example.mask.astype(np.uint8) * 255)
            mask.save(folder / category / "ground_truth" / defect / f"{index:03d}_mask.png")

    # numpy and Pillow release the interpreter lock while they work on a whole canvas
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="sample")
    try:
        for done, _ in enumerate(pool.map(draw, jobs), start=1):
            if progress is not None:
                progress(done, len(jobs))
    finally:
        pool.shutdown(cancel_futures=True)
