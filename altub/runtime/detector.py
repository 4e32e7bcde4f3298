"""An exported model that predicts like the detector it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from altub.data.images.reading import opened_in_chunks
from altub.data.images.tensors import to_pixels
from altub.errors import ConfigError, ImageError, ModelError
from altub.inference.calibration import Calibration
from altub.inference.onnx_record import INPUT, MAPS, RECORD_KEY, SCORES, OnnxRecord
from altub.inference.prediction import Prediction
from altub.inference.threshold import Threshold

if TYPE_CHECKING:
    from altub.data.images.sources import ImageSource

__all__ = ["OnnxDetector"]

BATCH = 8  # images at a time; only speed and memory depend on it


class OnnxDetector:
    """Finds defects in images with an ONNX file of `altub export`; made by `load`.

    Attributes:
        record: what the file tells of itself.

    Example: `detector = OnnxDetector.load("bottle.onnx")`, then as an `AnomalyDetector`:
    `detector.predict("part.png").at(detector.threshold).is_anomalous`.
    """

    def __init__(self, session: Any, record: OnnxRecord) -> None:
        self.session, self.record = session, record

    @classmethod
    def load(cls, file: str | Path, *, threads: int = 0, providers: Sequence[str] | None = None) -> OnnxDetector:
        """The model in an ONNX file.

        Args:
            threads: of the CPU; 0 takes one a core.
            providers: of onnxruntime, such as "CUDAExecutionProvider"; default the CPU.

        Raises:
            ModelError: there is no such file, or it was not written by `altub export`.
            ConfigError: onnxruntime is not installed, or does not know a provider.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError("Exported models run on onnxruntime: pip install onnxruntime") from error
        file = Path(file)
        if not file.is_file():
            raise ModelError(f"There is no exported model {file}: give a file that `altub export` wrote.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        chosen = list(providers or ["CPUExecutionProvider"])
        unknown = [name for name in chosen if name not in onnxruntime.get_available_providers()]
        if unknown:
            known = ", ".join(onnxruntime.get_available_providers())
            raise ConfigError(f"onnxruntime has no {', '.join(unknown)} here. It has: {known}.")
        try:
            session = onnxruntime.InferenceSession(file, options, providers=chosen)
        except Exception as error:  # onnxruntime raises classes of its own for each kind of damage
            raise ModelError(f"{file} is no ONNX model, or is damaged: export it again.") from error
        text = session.get_modelmeta().custom_metadata_map.get(RECORD_KEY)
        if text is None:
            raise ModelError(f"{file} was not written by `altub export`: it lacks the record of AltUB.")
        return cls(session, OnnxRecord.from_json(text))

    @property
    def calibration(self) -> Calibration:
        """From held-out good images."""
        return self.record.calibration

    @property
    def threshold(self) -> Threshold:
        """The model's own threshold."""
        return self.record.own_threshold

    def predict(self, image: ImageSource) -> Prediction:
        """The prediction for one image, as from `AnomalyDetector.predict`, without maps of the scales.

        Raises:
            ImageError: it is no image, or too large.
        """
        with closing(self.predict_many([image])) as predictions:
            found = next(predictions)
        if isinstance(found, ImageError):
            raise found
        return found

    def predict_many(self, images: Sequence[ImageSource]) -> Iterator[Prediction | ImageError]:
        """Predictions in order, some at a time; what is wrong with an image in its place."""
        side = self.record.image_size
        for chunk in opened_in_chunks(images, lambda image: image, pixel_range=self.record.pixel_range):
            results: list[Prediction | ImageError] = [found for _, found in chunk]
            readable = [place for place, found in enumerate(results) if not isinstance(found, ImageError)]
            for start in range(0, len(readable), BATCH):
                places = readable[start : start + BATCH]
                maps, scores = self.run(np.stack([to_pixels(results[place], side) for place in places]))
                for place, model_map, score in zip(places, maps, scores, strict=True):
                    results[place] = self._prediction(model_map, float(score), results[place])
            yield from results

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, 3, S, S), float32 in [0, 1] at the model's size, to maps (N, S, S) and scores (N,)."""
        maps, scores = self.session.run([MAPS, SCORES], {INPUT: images})
        return maps, scores

    def _prediction(self, model_map: np.ndarray, score: float, image: Image.Image) -> Prediction:
        if not np.isfinite(score):
            raise ModelError("The model gives no finite score for this image: it is damaged; export it again.")
        no_scales = np.empty((0, *model_map.shape), np.float32)
        known, whole = self.calibration, self.record.comparability
        reasons = () if whole is None else whole.reasons(image)
        return Prediction(
            model_map, no_scales, score, known.p_value(score), image.size, reasons, known.anomaly_score(score)
        )
