"""From a detector to an ONNX file that scores like it, checked and calibrated with the runtime that will run it.

Another runtime adds up in another order, so scores move in their last digits. The file is therefore compared with the
detector before it is kept, and where held-out good images are at hand its thresholds come from its own scores on them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from altub.data import ImageSource, opened_in_chunks, to_tensor
from altub.errors import ConfigError, ImageError, ModelError
from altub.files import explain_full_disk, write_atomically
from altub.inference.calibration import Calibration
from altub.inference.detector import AnomalyDetector
from altub.inference.framing_settings import require_plain
from altub.inference.onnx_graph import ScoringGraph, onnx_graph
from altub.inference.onnx_record import RECORD_KEY, OnnxRecord
from altub.runtime import OnnxDetector

__all__ = ["TOLERANCE", "OnnxExport", "export_onnx", "require_suffix", "with_record"]

#: Largest difference between torch and the exported graph, relative to max(1, |value|), in maps and scores.
TOLERANCE = 1e-3
NOISE_IMAGES = 4  # compared where no image is given
SEED = 0


@dataclass(frozen=True)
class OnnxExport:
    """An exported model.

    Attributes:
        file: its path.
        size: bytes.
        compared: images on which graph and detector were compared.
        map_difference, score_difference: the largest ones, relative to max(1, |value|).
        recalibrated: thresholds come from the graph's own scores of held-out images; else from torch's.
    """

    file: Path
    size: int
    compared: int
    map_difference: float
    score_difference: float
    recalibrated: bool


def export_onnx(
    detector: AnomalyDetector,
    file: str | Path,
    *,
    held_out: Sequence[ImageSource] = (),
    model_sha256: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> OnnxExport:
    """Writes the detector as one ONNX file for `altub.runtime`; a file that is there is replaced when all is well.

    Args:
        held_out: the held-out good images that calibrated the detector. The file is compared with the detector and
            calibrated on them; without any it is compared on noise, and keeps the detector's calibration.
        model_sha256: of the weights of the saved model, kept in the file.
        progress: called with the number of images compared and the number of all.

    Raises:
        ConfigError: packages are missing, or the detector cannot be exported.
        ModelError: it has no calibration, or the graph does not compute what the detector does.
        ImageError: a held-out image cannot be read.
    """
    file = Path(file)
    calibration = detector.require_calibration()
    require_suffix(file)
    config = detector.config
    require_plain(config, "exported to ONNX")
    proto = onnx_graph(detector)
    record = OnnxRecord(
        image_size=config.image_size,
        pixel_range=config.pixel_range,
        calibration=calibration,
        calibrated_with="torch",
        comparability=detector.comparability,
        threshold=detector.own_threshold,
        category=detector.info.category,
        model=model_sha256,
        compared={},
    )
    with tempfile.TemporaryDirectory() as folder, explain_full_disk(Path(folder)):
        trial = Path(folder) / "model.onnx"
        trial.write_bytes(with_record(proto, record))
        found = _compare(detector, OnnxDetector.load(trial), held_out, progress)
    if max(found.map_difference, found.score_difference) > TOLERANCE:
        raise ModelError(
            f"The exported graph differs from the model by {found.map_difference:.1e} in maps and "
            f"{found.score_difference:.1e} in scores, more than {TOLERANCE:.0e}: it was not written. Export in another "
            "version of torch, onnxscript or onnxruntime."
        )
    if held_out and not calibration.folds:  # of a cross-calibration the images that were held out are a small part
        record = replace(record, calibration=found.calibration(calibration), calibrated_with="onnxruntime")
    record = replace(record, compared=found.summary())
    content = with_record(proto, record)
    with explain_full_disk(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)
    by_graph = record.calibrated_with == "onnxruntime"
    return OnnxExport(file, len(content), len(found.scores), found.map_difference, found.score_difference, by_graph)


@dataclass
class _Comparison:
    scores: list[float]
    peaks: list[float]
    map_difference: float = 0.0
    score_difference: float = 0.0

    def calibration(self, before: Calibration) -> Calibration:
        """From the graph's own scores; colours stay, so that a heatmap looks as it did. Labelled images that joined are
        not there to be scored again: their scores differ by less than `TOLERANCE`."""
        held_out = Calibration(np.array(self.scores), before.colour_low, before.colour_high, np.array(self.peaks))
        return held_out.with_joined(before.to_dict().get("joined"))

    def summary(self) -> dict[str, float]:
        return {"images": len(self.scores), "maps": self.map_difference, "scores": self.score_difference}


def _compare(
    detector: AnomalyDetector,
    exported: OnnxDetector,
    images: Sequence[ImageSource],
    progress: Callable[[int, int], None] | None,
) -> _Comparison:
    found, size = _Comparison([], []), detector.config.image_size
    graph = ScoringGraph(detector).cpu().eval()
    given = list(images) or list(
        np.random.default_rng(SEED).integers(0, 256, (NOISE_IMAGES, size, size, 3), dtype=np.uint8)
    )
    for chunk in opened_in_chunks(given, lambda image: image, pixel_range=detector.config.pixel_range):
        readable = []
        for _, image in chunk:
            if isinstance(image, ImageError):
                raise image
            readable.append(to_tensor(image, size))
        batch = torch.stack(readable)
        with torch.inference_mode():
            maps, scores = (values.numpy() for values in graph(batch))
        own_maps, own_scores = exported.run(batch.numpy())
        found.map_difference = max(found.map_difference, _difference(maps, own_maps))
        found.score_difference = max(found.score_difference, _difference(scores, own_scores))
        found.scores += own_scores.astype(float).tolist()
        found.peaks += own_maps.max((1, 2)).astype(float).tolist()
        if progress is not None:
            progress(len(found.scores), len(given))
    return found


def _difference(wanted: np.ndarray, found: np.ndarray) -> float:
    difference = np.abs(wanted - found) / np.maximum(np.abs(wanted), 1)
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")


def require_suffix(file: Path) -> None:
    """Raises ConfigError for a name that no program takes for an ONNX file."""
    if file.suffix != ".onnx":
        raise ConfigError(f"{file.name} must end in .onnx.")


def with_record(proto: object, record: OnnxRecord) -> bytes:
    """The content of a file that holds this graph (ModelProto) and this record."""
    for entry in list(proto.metadata_props):
        if entry.key == RECORD_KEY:
            proto.metadata_props.remove(entry)
    proto.metadata_props.add(key=RECORD_KEY, value=record.to_json())
    return proto.SerializeToString()
