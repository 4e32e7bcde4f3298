"""Where the images of a training come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from altub.data import MVTEC_CATEGORIES, Category, list_categories, load_category
from altub.data.sample import SAMPLE_CATEGORIES
from altub.errors import ConfigError, DataError
from altub.labels.training_set import list_training_sets, training_set_folder
from altub.settings import data_root
from altub.ui.train.uploads import list_uploads, upload_folder

__all__ = [
    "MVTEC",
    "OWN",
    "SAMPLE",
    "SOURCES",
    "Choice",
    "category_choices",
    "find_category",
]

SAMPLE, MVTEC, OWN = "sample", "mvtec", "own"
SOURCES = (("Built-in sample", SAMPLE), ("MVTec AD", MVTEC), ("My images", OWN))
# The kinds of own images, in the value of the category list.
UPLOAD, LABELLED, FOLDER = "upload:", "labelled:", "folder:"


@dataclass(frozen=True)
class Choice:
    """What a training reads: the two settings `data` and `category`."""

    data: str
    category: str

    def load(self) -> Category:
        return load_category(self.data, self.category)


def mvtec_roots() -> tuple[Path, ...]:
    """Folders that MVTec AD categories are looked for in."""
    return data_root() / MVTEC, data_root()


def category_choices(source: str, folder: str = "", may_name_folders: bool = False) -> list[tuple[str, str]]:
    """(label, value) of the categories of a source.

    Raises:
        DataError: the folder has no layout that is known.
        ConfigError: folders are not allowed here, or the source is unknown.
    """
    if source == SAMPLE:
        return [(name, name) for name in SAMPLE_CATEGORIES]
    if source == MVTEC:
        found: dict[str, None] = {}
        for root in mvtec_roots():
            found.update(dict.fromkeys(_mvtec_categories(root)))
        return [(name, name) for name in sorted(found)]
    if source != OWN:
        raise ConfigError("Choose a source of images first.")
    choices = [(f"{name} (uploaded)", UPLOAD + name) for name in list_uploads()]
    choices += [(f"{name} (labelled)", LABELLED + name) for name in list_training_sets()]
    if folder.strip():
        _check_may_name(may_name_folders)
        choices += [(category.name, FOLDER + category.name) for category in list_categories(folder.strip())]
    return choices


def find_category(source: str, value: str | None, folder: str = "", may_name_folders: bool = False) -> Choice:
    """The data that the fields of the page name.

    Raises:
        DataError, ConfigError: nothing is chosen, or it is not there.
    """
    if not value or not isinstance(value, str):
        raise DataError("Choose a category first.")
    if source == SAMPLE and value in SAMPLE_CATEGORIES:
        return Choice(SAMPLE, value)
    if source == MVTEC:
        for root in mvtec_roots():
            if value in _mvtec_categories(root):
                return Choice(str(root), value)
    if source == OWN and value.startswith(UPLOAD):
        path = upload_folder(value.removeprefix(UPLOAD))
        return Choice(str(path), path.name)
    if source == OWN and value.startswith(LABELLED):
        path = training_set_folder(value.removeprefix(LABELLED))
        return Choice(str(path), path.name)
    if source == OWN and value.startswith(FOLDER):
        _check_may_name(may_name_folders)
        name = value.removeprefix(FOLDER)
        load_category(folder.strip(), name)
        return Choice(str(Path(folder.strip()).expanduser().resolve()), name)
    raise DataError("This category is no longer there: choose one from the list.")


def _mvtec_categories(root: Path) -> list[str]:
    return [name for name in MVTEC_CATEGORIES if (root / name / "train" / "good").is_dir()]


def _check_may_name(may_name_folders: bool) -> None:
    if not may_name_folders:
        raise ConfigError(
            "Folders can be chosen only while the page is served to its own machine: upload the images instead."
        )
