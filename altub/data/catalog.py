"""Which categories are in a folder, whatever its layout, and the built-in sample by its name.

A folder is taken for what its subfolders say: ``train/good`` is MVTec AD's (and VisA's after prepare_data.py),
``train/ok`` BTAD's, ``Data/Images/Normal`` VisA's own; images themselves or a ``good/`` make a plain folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from altub.data.category import MEMORY, Category, image_files, subfolders
from altub.data.layouts.btad import is_btad_category, load_btad_category
from altub.data.layouts.folder import is_plain_folder, load_plain_folder
from altub.data.layouts.mvtec import is_mvtec_category, load_mvtec_category
from altub.data.layouts.visa import is_visa_category, load_visa_category
from altub.errors import DataError
from altub.files import printable

__all__ = ["SAMPLE", "list_categories", "load_category"]

#: The data source that needs no download: made once under the data root.
SAMPLE = "sample"

_LAYOUTS = (
    "Expected is the MVTec AD layout (<folder>/<category>/train/good/*.png, test/<defect>/*.png, "
    "ground_truth/<defect>/*_mask.png), that of BTAD (<folder>/01/train/ok) or of VisA "
    "(<folder>/<category>/Data/Images/Normal), or a plain folder of good images (<folder>/*.png or "
    "<folder>/good/*.png, optionally defect/ and masks/ beside them)."
)

_BENCHMARKS = (
    (is_mvtec_category, load_mvtec_category),
    (is_btad_category, load_btad_category),
    (is_visa_category, load_visa_category),
)

# VisA's prepare_data.py writes its categories one level below the folder it is given.
_CONVERTED = "1cls"


def list_categories(data: str | Path) -> list[Category]:
    """All categories of a data source, sorted by name.

    Args:
        data: "sample" for the built-in sample (made under the data root if it is not there yet; a folder of
            this name is "./sample"), or a folder: the root of MVTec AD, BTAD or VisA, one of its categories, a
            plain folder of good images, or a folder of such folders that have a ``good/`` each.

    Raises:
        DataError: the folder is not there, or nothing in it is understood.
    """
    folder = _folder(data)
    loaders = _find(folder)
    categories, problems = [], []
    for _, load in sorted(loaders.items()):
        try:
            categories.append(load())
        except DataError as error:  # must not hide the others; loading this one by name raises it
            problems.append(error)
    if not categories:
        raise problems[0]
    return categories


def load_category(data: str | Path, name: str) -> Category:
    """One category of a data source by its name.

    Raises:
        DataError: there is no such category (the message names those that are there), or it is empty.
    """
    name = printable(name)
    if isinstance(data, str) and data == SAMPLE:
        from altub.data.sample import outline_sample

        outline_sample(name)  # raises for an unknown one; to draw all of the sample first would take half a minute
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
    if data == MEMORY:
        raise DataError("These samples were given from Python and not as files: train with train(run, category=...).")
    if isinstance(data, str) and not data.strip():
        raise DataError('No data source was given: name a folder of images, or "sample" for the built-in sample.')
    folder = Path(os.path.abspath(Path(data).expanduser()))
    if not folder.exists():
        raise DataError(f'The folder {folder} does not exist: check the path, or use "sample" for the built-in sample.')
    if not folder.is_dir():
        raise DataError(f"{folder} is a file, not a folder: give the folder that holds the images.")
    return folder


def _find(folder: Path) -> dict[str, Callable[[], Category]]:
    """A loader for each category by name; nothing but folder names is read for it."""
    try:
        load = _loader(folder)
        if load is None and is_plain_folder(folder):
            load = load_plain_folder
        if load is not None:
            return {printable(folder.name): lambda: load(folder)}
        found = _find_below(folder) or _find_below(folder / _CONVERTED)
        if not found:
            raise DataError(f"No images were found in {folder} that can be used. {_LAYOUTS}{_hint(folder)}")
        return found
    except PermissionError as error:
        raise DataError(
            f"{error.filename or folder} cannot be read: permission denied. Check its permissions."
        ) from error


def _loader(folder: Path) -> Callable[[Path], Category] | None:
    """What reads the folder, if it is one category of a benchmark."""
    return next((load for is_one, load in _BENCHMARKS if is_one(folder)), None)


def _find_below(folder: Path) -> dict[str, Callable[[], Category]]:
    found: dict[str, Callable[[], Category]] = {}
    for child in subfolders(folder):
        load = _loader(child)
        if load is None and is_plain_folder(child) and not image_files(child):
            load = load_plain_folder
        if load is not None:
            found[printable(child.name)] = lambda load=load, child=child: load(child)
    return found


def _hint(folder: Path) -> str:
    """The subfolder that was probably meant, as a sentence."""
    for child in subfolders(folder):
        if _find_below(child) or _find_below(child / _CONVERTED) or image_files(child):
            return f" Did you mean {child}?"
    return ""


def _called(data: str | Path, folder: Path) -> str:
    return "the built-in sample" if data == SAMPLE else str(folder)
