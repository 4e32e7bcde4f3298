"""Where images of the Label tab come from beside uploads: a folder of this machine, the test images of a category."""

from __future__ import annotations

from altub.data import SAMPLE_CATEGORIES, Sample, load_category
from altub.errors import AltUBError, DataError
from altub.inference.exports import collect_images
from altub.runs.run import Run, list_runs
from altub.ui.folders import named_folder
from altub.ui.to_label import Offered

__all__ = ["category_choices", "folder_images", "test_images", "training_images"]

SAMPLE = "sample:"  # begins the value of a category of the built-in sample; the others are ids of runs


def folder_images(folder: str, *, may_name_folders: bool) -> list[Offered]:
    """The images below a folder of this machine, by their paths in it.

    Raises:
        ConfigError: the page is not only its owner's, or no folder is given.
        DataError: it is not there, or has no image.
    """
    root = named_folder(folder, may_name_folders=may_name_folders)
    return [(path, path.relative_to(root).as_posix()) for path in collect_images([root])]


def category_choices() -> list[tuple[str, str]]:
    """(label, value) of the categories whose test images can be added: those that models were trained on, and the
    built-in sample's."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for run in list_runs():
        try:
            config = run.config
        except AltUBError:  # damaged: the Models tab names it
            continue
        found.setdefault((config.data, config.category), (config.category, run.id))
    choices = [choice for (data, _), choice in found.items() if data != "sample"]
    return choices + [(f"{name} (sample)", SAMPLE + name) for name in SAMPLE_CATEGORIES]


def test_images(value: str) -> tuple[str, list[Offered]]:
    """The name of a category of `category_choices`, and its test images.

    Raises:
        DataError: nothing is chosen, or the category is gone or has no test images.
    """
    if not value:
        raise DataError("Choose a category first.")
    if value.startswith(SAMPLE):
        data, name = "sample", value.removeprefix(SAMPLE)
    else:
        run = next((run for run in list_runs() if run.id == value), None)
        if run is None:
            raise DataError("This category is no longer there: choose one from the list.")
        data, name = run.config.data, run.config.category
    category = load_category(data, name)
    if not category.test:
        raise DataError(f"{category.name} has no test images: drop images instead.")
    return category.name, [(one.path, f"{one.defect}/{one.path.name}") for one in category.test]


def training_images(run: Run) -> tuple[Sample, ...]:
    """The good images that a run was trained on or held out.

    Raises:
        DataError: they are not on this machine.
    """
    try:
        return load_category(run.config.data, run.config.category).train
    except AltUBError as error:
        raise DataError(
            "The good images of this model's training are not on this machine: choose another model, or train on the "
            "labels alone."
        ) from error
