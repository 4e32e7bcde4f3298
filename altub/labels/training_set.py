"""What people labelled as a data set to train on: a folder of the layout of MVTec AD below the data root.

A set is written once and never changed, so that a training on it can be resumed whatever is labelled meanwhile. Good
labels, and other good images, are trained on, a fifth of them tested on; labelled defects, with their masks, are the
test set.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from altub.data import Sample
from altub.errors import ConfigError, DataError
from altub.labels.formats.exchange import labelled_items
from altub.labels.formats.folder import exporting
from altub.labels.formats.item import Item
from altub.labels.formats.mvtec import write
from altub.labels.store import LabelStore
from altub.settings import data_root, uploads_are_shared

__all__ = ["list_training_sets", "training_set_folder", "training_sets_root", "write_training_set"]

NAME = re.compile(r"[\w\- ]{1,80}")


def training_sets_root() -> Path:
    """Folder with one folder per set."""
    return data_root() / "labelled"


def list_training_sets() -> list[str]:
    """Names of the sets, the newest first; none where visitors may not see each other's images."""
    root = training_sets_root()
    if not uploads_are_shared() or not root.is_dir():
        return []
    sets = [path for path in root.iterdir() if NAME.fullmatch(path.name) and (path / "train/good").is_dir()]
    return [path.name for path in sorted(sets, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)]


def training_set_folder(name: str) -> Path:
    """The folder of a set.

    Raises:
        DataError: there is none of this name.
    """
    if name not in list_training_sets():
        raise DataError("No set of labelled images of this name: choose one from the list.")
    return training_sets_root() / name


def write_training_set(
    store: LabelStore,
    *,
    source: str | None = None,
    good: Sequence[Sample] = (),
    learned: float = 0.0,
    folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, tuple[str, ...]]:
    """Writes the labelled images of a source to a new folder; its path, and sentences on what was left out.

    Args:
        source: None: images of all sources.
        good: further good images to train on, such as those of the model's first training. Those with the bytes of a
            labelled image are left out: the label counts.
        learned: share, about, of the labelled defects with masks that a training learns from (`push_epochs`); they are
            not tested on.
        folder: a new one; None: one below the data root, named by the source and the time.
        progress: called with the number of images done and of all.

    Raises:
        ConfigError: the share is not from 0 to below 1.
        DataError: nothing is labelled, or nothing is good.
        DiskFullError: no room; nothing is left behind.
    """
    if not 0 <= learned < 1:
        raise ConfigError(f"The share of defects to learn from is {learned:g}: it is from 0 to below 1, such as 0.5.")
    labels = store.labels.all(source)
    if not labels:
        raise DataError("Nothing is labelled yet: label some images first.")
    total, done = len(labels) + len(good), 0
    known, left_out = set(labels), 0

    def count(items: Iterator[Item]) -> Iterator[Item]:
        nonlocal done
        for item in items:
            done += 1
            yield item
            if progress is not None:
                progress(done, total)

    def others() -> Iterator[Item]:
        nonlocal left_out
        for sample in good:
            try:
                with sample.path.open("rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise DataError(
                    f"{sample.path} cannot be read ({error.strerror}): put it back, or train on the labels alone."
                ) from error
            if sha256 in known:
                left_out += 1
                continue
            known.add(sha256)
            yield Item(sample.path, sample.path.name, "good")

    def everything() -> Iterator[Item]:
        yield from count(labelled_items(store, list(labels.values())))
        yield from count(others())

    path = Path(folder) if folder is not None else training_sets_root() / _name(source)
    with exporting(path) as out:
        notes = write(everything(), out, learned=learned)
    if left_out:
        notes += (f"{left_out} of the further good images are labelled, and count by their label.",)
    return path, notes


def _name(source: str | None) -> str:
    words = re.sub(r"[^\w\- ]+", "-", source or "").strip("-_ ")[:40].strip("-_ ") or "labels"
    name = f"{words} {time.strftime('%Y-%m-%d %H%M%S')}"
    # Two of one second: the second one gets a number.
    others = (f"{name} {number}" for number in itertools.count(2))
    return (
        name
        if not (training_sets_root() / name).exists()
        else next(other for other in others if not (training_sets_root() / other).exists())
    )
