"""What the Inspect tab writes into the inspection log: each image at the model's own threshold, and its numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from altub.errors import RunError
from altub.inference.batch import Inspected
from altub.inference.model_cache import LoadedModel, read_model_config
from altub.labels.inspections import Inspection
from altub.line.recorder import PAGE, Recorder, inspection_of
from altub.line.statistics import measure_photo
from altub.ui.inspect.batch import PageBatch

__all__ = ["BatchLog"]


class BatchLog:
    """Measures the photos of some images while they are decoded, and logs the images when the batch is there.

    Args:
        model: by which they are inspected, from `folder`.
        write_photo: gets every photo as well.
    """

    def __init__(
        self, recorder: Recorder, model: LoadedModel, folder: Path, write_photo: Callable[[int, Image.Image], None]
    ) -> None:
        self.recorder, self.model, self.write_photo = recorder, model, write_photo
        version = read_model_config(folder).version
        self._version = None if version is None else version.number
        self._measured: dict[int, dict[str, float]] = {}

    def photo(self, number: int, photo: Image.Image) -> None:
        """The decoded image with this number; the `on_photo` of `inspect_images`."""
        self.write_photo(number, photo)
        if self.recorder.enabled:
            self._measured[number] = measure_photo(photo)

    def write(self, batch: PageBatch, items: Sequence[Inspected]) -> None:
        """Logs these items of the batch."""
        if self.recorder.enabled:
            found = [self._inspection(batch, item) for item in items]
            self.recorder.add([one for one in found if one is not None])

    def _inspection(self, batch: PageBatch, item: Inspected) -> Inspection | None:
        """None where its files were cleaned away meanwhile."""
        try:
            verdict = batch.verdict(item, self.model.detector.threshold)
            background = float(np.median(batch.maps(item)[0]))
            with item.source.path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, RunError):
            return None
        return inspection_of(
            PAGE,
            item.source.name,
            item.score,
            item.p_value,
            verdict,
            sha256=sha256,
            model=self.model.weights_sha256,
            version=self._version,
            statistics={"background": background, **self._measured.get(item.number, {})},
        )
