"""Which categories are in a folder, whatever its layout, and the built-in sample by its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from altub.data.category import Category, image_files, is_hidden
from altub.data.folder import is_plain_folder, load_plain_folder
from altub.data.mvtec import is_mvtec_category, load_mvtec_category
from altub.errors import DataError

__all__ = ["SAMPLE", "list_categories", "load_category"]

#: The data source that needs no download: made once under the data root.
SAMPLE = "sample"

_LAYOUTS = (
    "Expected is either the MVTec AD layout (<folder>/<category>/train/good/*.png, test/<defect>/*.png, "
    "ground_truth/<defect>/*_mask.png) or a plain folder of good images (<folder>/*.png or "
    "<folder>/good/*.png, optionally defect/ and masks/ beside them)."
)


def list_categories(data: str | Path) -> list[Category]:
    """All categories of a data source, sorted by name.

    Args:
        data: "sample" for the built-in sample (made under the data root if it is not there yet; a folder of
            this name is "./sample"), or a folder: an MVTec AD root, one of its categories, a plain folder of
            good images, or a folder of such folders that have a ``good/`` each.

    Raises:
        DataError: the folder is not there, or nothing in it is understood.
    """
    folder = _folder(data)
    loaders = _find(folder)
    categories, problems = [], []
    for _, load in sorted(loaders.items()):
        try:
            categories.append(load())
        except DataError as error:  # must not hide the others; loading this one by name tells why
            problems.append(error)
    if not categories:
        raise problems[0]
    return categories


def load_category(data: str | Path, name: str) -> Category:
    """One category of a data source by its name.

    Raises:
        DataError: there is no such category (the message names those that are there), or it is empty.
    """
    folder = _folder(data)
    loaders = _find(folder)
    if name not in loaders:
        there = ", ".join(sorted(loaders))
        raise DataError(f"There is no category {name!r} in {_called(data, folder)}. There is: {there}.")
    return loaders[name]()


def _folder(data: str | Path) -> Path:
    if isinstance(data, str) and data == SAMPLE:
        from altub.data.sample import ensure_sample

        return ensure_sample()
    if isinstance(data, str) and not data.strip():
        raise DataError('No data source was given: name a folder of images, or "sample" for the built-in sample.')
    folder = Path(os.path.abspath(Path(data).expanduser()))
    if not folder.exists():
        raise DataError(f'The folder {folder} is not there: check the path, or use "sample" for the built-in sample.')
    if not folder.is_dir():
        raise DataError(f"{folder} is a file, not a folder: give the folder that holds the images.")
    return folder


def _find(folder: Path) -> dict[str, Callable[[], Category]]:
    """A loader for each category by name; nothing but folder names is read for it."""
    try:
        if is_mvtec_category(folder):
            return {folder.name: lambda: load_mvtec_category(folder)}
        if is_plain_folder(folder):
            return {folder.name: lambda: load_plain_folder(folder)}
        found = _find_below(folder)
        if not found:
            raise DataError(f"No images were found in {folder} that can be used. {_LAYOUTS}{_hint(folder)}")
        return found
    except PermissionError as error:
        raise DataError(f"{error.filename or folder} cannot be read: this user has no right to.") from error


def _find_below(folder: Path) -> dict[str, Callable[[], Category]]:
    found: dict[str, Callable[[], Category]] = {}
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path)):
        if is_mvtec_category(child):
            found[child.name] = lambda child=child: load_mvtec_category(child)
        elif is_plain_folder(child) and not image_files(child):
            found[child.name] = lambda child=child: load_plain_folder(child)
    return found


def _hint(folder: Path) -> str:
    """The subfolder that was probably meant, as a sentence."""
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path)):
        if _find_below(child) or image_files(child):
            return f" Did you mean {child}?"
    return ""


def _called(data: str | Path, folder: Path) -> str:
    return "the built-in sample" if data == SAMPLE else str(folder)
