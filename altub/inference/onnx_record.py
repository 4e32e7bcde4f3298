"""What an exported model tells of itself, kept as JSON in the ONNX file; needs neither torch nor onnx to be read.

format_version   of this record
image_size       side in pixels of the graph's input
pixel_range      which values of deep images become 255
calibration      scores and peaks of held-out good images, and the range of colours
calibrated_with  "onnxruntime", where they were computed by the exported graph itself, or "torch"
comparability    what the training images look like as a whole; null: no image is refused
threshold        the model's own; null: the calibration's at the default false-alarm rate
category, model, altub   what was exported: category, SHA-256 of its weights, version of AltUB
compared         how many images were compared with torch, and the largest differences of maps and scores; of an int8
                 file those of the float32 graph that it was made of
quantised        what int8 costs (`Quantised`); null, or not there: the graph is float32
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

__all__ = ["INPUT", "MAPS", "OPSET", "RECORD_KEY", "SCORES", "OnnxRecord", "Quantised"]

OPSET = 18  # of ONNX
INPUT, MAPS, SCORES = "image", "anomaly_map", "score"  # names in the graph
RECORD_KEY = "altub"  # of the file's metadata
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Quantised:
    """What a graph in int8 costs and gains against the same one in float32.

    Attributes:
        convolutions: how many compute in int8.
        ranges_from: number of training images that gave the ranges of activations.
        tested: number of test images.
        image_auroc, pixel_auroc: of float32 and of int8 on them; None: they do not tell it.
        held_out: number of held-out good images.
        rank_correlation: Spearman's, of their scores in float32 and int8; None: there are too few.
        map_difference: mean absolute difference of their maps, in standard deviations of the float32 maps' values.
        speed: time of float32 divided by time of int8, one image at a time, on the computer that exported.
    """

    convolutions: int
    ranges_from: int
    tested: int
    image_auroc: tuple[float, float] | None
    pixel_auroc: tuple[float, float] | None
    held_out: int
    rank_correlation: float | None
    map_difference: float
    speed: float

    @property
    def loss(self) -> float | None:
        """The larger loss of the two AUROC, below 0 where both are higher in int8; None: unknown."""
        known = [pair for pair in (self.image_auroc, self.pixel_auroc) if pair is not None]
        return max((before - after for before, after in known), default=None)

    def __str__(self) -> str:
        names = (("image", self.image_auroc), ("pixel", self.pixel_auroc))
        rates = [f"{name} AUROC {pair[1]:.4f} (float32: {pair[0]:.4f})" for name, pair in names if pair is not None]
        if rates:
            quality = f"{', '.join(rates)} on {self.tested} test images"
        else:
            ranks = "" if self.rank_correlation is None else f", rank correlation of scores {self.rank_correlation:.3f}"
            quality = (
                "loss of AUROC unknown, as the data has no test images with and without defects; on "
                f"{self.held_out} held-out images maps differ by {self.map_difference:.2f} standard deviations{ranks}"
            )
        return f"int8: {quality}; {self.speed:.2f} times as fast as float32 where it was exported."

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Quantised:
        """The inverse of `asdict`, after JSON."""
        known = {name: values[name] for name in cls.__dataclass_fields__}  # later versions may know more
        for name in ("image_auroc", "pixel_auroc"):
            if known[name] is not None:
                before, after = known[name]
                known[name] = (float(before), float(after))
        return cls(**known)


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
    quantised: Quantised | None = None

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
        values["quantised"] = None if self.quantised is None else asdict(self.quantised)
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
            quantised = values.get("quantised")  # files of before int8 have none
            values["quantised"] = None if quantised is None else Quantised.from_dict(quantised)
            known = {name: values[name] for name in cls.__dataclass_fields__}  # later versions may know more
            return cls(**known)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError("The exported model is damaged: its record cannot be read. Export it again.") from error
