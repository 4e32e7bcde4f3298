"""What an exported model tells of itself, kept as JSON in the ONNX file; needs neither torch nor onnx to be read.

format_version   of this record
image_size       side in pixels of the graph's input
pixel_range      which values of deep images become 255
calibration      scores and peaks of held-out good images, and the range of colours
calibrated_with  "onnxruntime", where they were computed by the exported graph itself, or "torch"
comparability    what the training images look like as a whole; null: no image is refused
threshold        the model's own; null: the calibration's at the default false-alarm rate
category, model, altub   what was exported: category, SHA-256 of its weights, version of AltUB
compared         how many images were compared with torch, and the largest differences of maps and scores
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from altub.data.images import PixelRange
from altub.errors import ModelError
from altub.inference.calibration import Calibration
from altub.inference.comparability import Comparability
from altub.inference.threshold import Threshold
from altub.version import __version__

__all__ = ["INPUT", "MAPS", "OPSET", "RECORD_KEY", "SCORES", "OnnxRecord"]

OPSET = 18  # of ONNX
INPUT, MAPS, SCORES = "image", "anomaly_map", "score"  # names in the graph
RECORD_KEY = "altub"  # of the file's metadata
FORMAT_VERSION = 1


@dataclass(frozen=True)
class OnnxRecord:
    """See this module."""

    image_size: int
    pixel_range: PixelRange | None
    calibration: Calibration
    calibrated_with: str
    comparability: Comparability | None
    threshold: Threshold | None
    category: str
    model: str
    compared: dict[str, float]
    altub: str = __version__

    @property
    def own_threshold(self) -> Threshold:
        """The one in use; see `AnomalyDetector.threshold`."""
        return self.threshold or self.calibration.threshold()

    def to_json(self) -> str:
        """One line of JSON."""
        values = {"format_version": FORMAT_VERSION, **{name: getattr(self, name) for name in self.__dataclass_fields__}}
        values["pixel_range"] = None if self.pixel_range is None else asdict(self.pixel_range)
        values["calibration"] = self.calibration.to_dict()
        values["comparability"] = None if self.comparability is None else self.comparability.model_dump(mode="json")
        values["threshold"] = None if self.threshold is None else self.threshold.to_dict()
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> OnnxRecord:
        """The inverse of `to_json`.

        Raises:
            ModelError: it is damaged, or of a newer version of AltUB.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            version = values.pop("format_version")
            if version > FORMAT_VERSION:
                raise ModelError(
                    f"The exported model has format {version}, newer than this version of AltUB ({__version__}, "
                    f"format {FORMAT_VERSION}) reads: update AltUB."
                )
            pixels, threshold, whole = values["pixel_range"], values["threshold"], values["comparability"]
            values["comparability"] = None if whole is None else Comparability.model_validate(whole)
            values["pixel_range"] = None if pixels is None else PixelRange(**pixels)
            values["calibration"] = Calibration.from_dict(values["calibration"])
            values["threshold"] = None if threshold is None else Threshold.from_dict(threshold)
            known = {name: values[name] for name in cls.__dataclass_fields__}  # later versions may know more
            return cls(**known)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError("The exported model is damaged: its record cannot be read. Export it again.") from error
