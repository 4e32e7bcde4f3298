"""Which images of the store a model was trained on: their scores are too low to say anything about other images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from altub.errors import ModelError
from altub.files import read_json
from altub.training.data_record import DataRecord

__all__ = ["TrainingImages", "training_images"]


@dataclass(frozen=True)
class TrainingImages:
    """Images of a model's training, by their SHA-256.

    Attributes:
        trained: to be left out of curves and promises (`read_sample`).
        held_out: in the calibration already (`extended_calibration`).
    """

    trained: frozenset[str]
    held_out: frozenset[str]


def training_images(model: str | Path) -> TrainingImages | None:
    """From the record (data.json) of the run whose model folder this is; None where there is none, as for models from
    the Hub and of version 0.1.0.

    Raises:
        ModelError: the record is damaged.
    """
    path = Path(model).resolve().parent / "data.json"
    if not path.is_file():
        return None
    try:
        images = DataRecord.model_validate(read_json(path)).images
    except (OSError, ValueError, ValidationError) as error:
        raise ModelError(f"{path} is damaged: which images the model was trained on is not known any more.") from error
    parts = {
        part: frozenset(image.sha256 for image in images if image.part == part) for part in ("trained", "held-out")
    }
    return TrainingImages(parts["trained"], parts["held-out"])
