"""A folder that is exported to: written beside its goal, which it becomes when it is complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from altub.data import is_image_file
from altub.errors import DataError
from altub.files import explain_full_disk, write_atomically
from altub.inference.exports import UniqueNames
from altub.labels.formats.item import Item
from altub.labels.masks import encode_mask

__all__ = ["ExportFolder", "exporting"]


class ExportFolder:
    """Takes the files of an export; every image gets a name that no other has, whatever its subfolder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._names = folder, UniqueNames()

    def add_image(self, item: Item, subfolder: str) -> Path:
        """Copies an image's original bytes; its path relative to the folder."""
        stem = Path(item.name).stem
        # `a_mask.png` beside `a.png` is taken for a mask by readers of folders, also by ours.
        stem = self._names(f"{stem}_.png" if stem.endswith("_mask") else item.name)
        suffix = Path(item.name).suffix if is_image_file(item.name) else ".png"
        relative = Path(subfolder) / f"{stem}{suffix}"
        path = self.folder / relative
        with explain_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(item.path, path)
        return relative

    def add_mask(self, mask: np.ndarray, relative: Path) -> str:
        """Writes a mask as PNG of 0 and 255; its path, with slashes."""
        self.add(relative, encode_mask(mask))
        return relative.as_posix()

    def add(self, relative: str | Path, content: bytes) -> None:
        """Writes a file."""
        path = self.folder / relative
        with explain_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


@contextmanager
def exporting(goal: Path) -> Iterator[ExportFolder]:
    """A new folder, which becomes `goal` when the block ends without an error and is removed otherwise.

    Raises:
        DataError: the goal is there and not an empty folder.
        DiskFullError: no room; nothing is left.
    """
    if goal.exists() and not (goal.is_dir() and not any(goal.iterdir())):
        raise DataError(f"{goal} exists already: give a new folder to export to.")
    with explain_full_disk(goal):
        goal.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=goal.parent, prefix=f".{goal.name}."))
    try:
        with explain_full_disk(goal):
            yield ExportFolder(temporary)
            os.chmod(temporary, 0o755)  # mkdtemp makes it private
            with suppress(FileNotFoundError):
                goal.rmdir()
            os.rename(temporary, goal)
    except BaseException:  # also on Ctrl+C: no half of an export stays
        shutil.rmtree(temporary, ignore_errors=True)
        raise
