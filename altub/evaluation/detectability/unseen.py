"""Good images that a model was not trained on."""

from __future__ import annotations

from pathlib import Path

from altub.data import Category, Sample
from altub.errors import DataError
from altub.runs.run import Run
from altub.training.data_record import DataRecord

__all__ = ["LEAST_IMAGES", "unseen_good"]

#: Good images below which nothing is measured.
LEAST_IMAGES = 4


def unseen_good(model_dir: Path, category: Category) -> list[Sample]:
    """The category's good images, test images first, that the model in `model_dir` was not trained on.

    Its run says by content which those are (data.json); without it, as for a model from elsewhere, only images of the
    test set are sure to be none of them. Held-out images among them have set the model's threshold.

    Raises:
        DataError: there are fewer than `LEAST_IMAGES`.
        RunError: the record of the run is damaged.
    """
    tested = [sample for sample in category.test if not sample.is_defective]
    run = Run(model_dir.resolve().parent)
    found = tested
    if run.data_file.is_file():
        found = DataRecord.read(run.data_file, run.id).untrained([*tested, *category.train])
    if len(found) < LEAST_IMAGES:
        raise DataError(
            f"Category {category.name} has {len(found)} good images that the model was not trained on, and at least "
            f"{LEAST_IMAGES} are needed. Add good images to its test folder (test/good)."
        )
    return found
