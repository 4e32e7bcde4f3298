"""A model as an ONNX file in int8, with what it costs: its AUROC against float32's, and thresholds of its own scores.

Integers compute other scores than float32, so that the check of a float32 export (maps and scores alike) cannot hold.
What counts instead is measured on the model's own images and kept in the file: the loss of AUROC on the test images,
or, where they do not tell it, how far held-out good images move.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from altub.backbones import FILTER_BANK
from altub.data import ImageSource, Sample, opened_in_chunks
from altub.data.images.tensors import to_pixels
from altub.errors import ConfigError, ImageError, ModelError
from altub.evaluation.evaluate import TestSet
from altub.evaluation.metrics import Metrics
from altub.files import explain_full_disk, write_atomically
from altub.inference.calibration import Calibration
from altub.inference.detector import AnomalyDetector
from altub.inference.onnx_export import export_onnx, require_suffix, with_record
from altub.inference.onnx_int8 import BACKBONE, FLOW, quantised
from altub.inference.onnx_record import Quantised
from altub.runtime import OnnxDetector

__all__ = ["MOST_LOST", "RANGES_FROM", "Int8Export", "export_int8"]

#: Largest loss of image or pixel AUROC that is written without being accepted.
MOST_LOST = 0.01
#: Most training images that give the ranges of activations.
RANGES_FROM = 64
ROUNDS = 7  # of timing, float32 and int8 in turn

Results = tuple[np.ndarray, np.ndarray]  # maps (N, S, S) and scores (N,)


@dataclass(frozen=True)
class Int8Export:
    """An exported model in int8.

    Attributes:
        file: its path.
        size, float_size: bytes, and those of the float32 file.
        quantised: what int8 costs.
        threshold_left_out: the model's own threshold is one for scores of float32 that nothing tells for int8; the file
            has the one of its held-out images at the default false-alarm rate.
    """

    file: Path
    size: int
    float_size: int
    quantised: Quantised
    threshold_left_out: bool


def export_int8(
    detector: AnomalyDetector,
    file: str | Path,
    *,
    trained: Sequence[ImageSource],
    held_out: Sequence[ImageSource],
    tested: Sequence[Sample] = (),
    accept_loss: bool = False,
    model_sha256: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Int8Export:
    """Writes the detector as one ONNX file for `altub.runtime` whose convolutions compute in int8.

    Args:
        trained: images of the training; up to `RANGES_FROM` of them give the ranges of activations.
        held_out: the held-out good images that calibrated the detector; they calibrate the file.
        tested: test images, none of them trained on.
        accept_loss: write the file even if it loses more than `MOST_LOST` of an AUROC.
        model_sha256: of the weights of the saved model, kept in the file.
        progress: called with the number of images done and the number of all.

    Raises:
        ConfigError: images or packages are missing, or the detector cannot be exported so.
        ModelError: the loss is too large, or the detector has no calibration.
        ImageError: an image cannot be read.
    """
    file = Path(file)
    require_suffix(file)
    if not trained or not held_out:
        raise ConfigError(
            "int8 needs images of the training: trained ones for the ranges of its integers, and held-out ones for its "
            "thresholds."
        )
    if detector.require_calibration().folds:
        raise ConfigError(
            "This model was calibrated by cross-calibration, with scores of other models, which tell nothing of int8. "
            "Export it in float32, or train it with cross_folds=0."
        )
    ranges = [trained[place] for place in _spread(len(trained), RANGES_FROM)]
    count = _Count(len(ranges) + 3 * len(held_out) + 2 * len(tested), progress)
    with tempfile.TemporaryDirectory() as folder, explain_full_disk(Path(folder)):
        plain = Path(folder) / "float32.onnx"
        done = export_onnx(
            detector, plain, held_out=held_out, model_sha256=model_sha256, progress=lambda now, _: count.reach(now)
        )
        float32 = OnnxDetector.load(plain)
        inputs = (count.counted(images) for images in _inputs(float32, ranges))
        graph, names = quantised(plain, inputs, _parts(detector))
        small = Path(folder) / "int8.onnx"
        small.write_bytes(with_record(graph, float32.record))
        int8 = OnnxDetector.load(small)
        kept, moved = (_run(runtime, held_out, count) for runtime in (float32, int8))
        before, after = _metrics((float32, int8), tested, count)
        cost = Quantised(
            convolutions=len(names),
            ranges_from=len(ranges),
            tested=len(tested),
            image_auroc=_pair(before.image_auroc, after.image_auroc),
            pixel_auroc=_pair(before.pixel_auroc, after.pixel_auroc),
            held_out=len(held_out),
            rank_correlation=_rank_correlation(kept[1], moved[1]),
            map_difference=_map_difference(kept[0], moved[0]),
            speed=_speed(float32, int8),
        )
    if cost.loss is not None and cost.loss > MOST_LOST and not accept_loss:
        raise ModelError(
            f"In int8 this model loses {cost.loss:.4f} of its AUROC, more than {MOST_LOST:g}: it was not written. "
            f"{cost} Export it in float32, or accept the loss (--accept-loss)."
        )
    known = float32.record.calibration
    calibration = Calibration(moved[1], known.colour_low, known.colour_high, moved[0].max((1, 2)))
    own = detector.own_threshold
    threshold = calibration.at_rate_of(own)
    left_out = own is not None and threshold is None  # it is one for scores of float32
    record = replace(float32.record, calibration=calibration, threshold=threshold, quantised=cost)
    content = with_record(graph, record)
    with explain_full_disk(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)
    return Int8Export(file, len(content), done.size, cost, left_out)


def _parts(detector: AnomalyDetector) -> tuple[str, ...]:
    """What is in int8: of the filter bank, whose filters answer in very different sizes, the flow alone."""
    return (FLOW,) if detector.config.backbone == FILTER_BANK else (BACKBONE, FLOW)


class _Count:
    """Images done of all."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def reach(self, done: int) -> None:
        self.done = done
        if self.progress is not None:
            self.progress(self.done, self.total)

    def counted(self, images: np.ndarray) -> np.ndarray:
        self.reach(self.done + len(images))
        return images


def _spread(total: int, most: int) -> list[int]:
    """Up to so many places in 0 to total - 1, evenly spread."""
    return sorted({int(place) for place in np.linspace(0, total - 1, min(total, most))})


def _inputs(runtime: OnnxDetector, images: Sequence[ImageSource]) -> Iterator[np.ndarray]:
    """The graph's inputs, a few at a time.

    Raises:
        ImageError: one cannot be read.
    """
    record = runtime.record
    for chunk in opened_in_chunks(images, lambda image: image, pixel_range=record.pixel_range):
        readable = []
        for _, image in chunk:
            if isinstance(image, ImageError):
                raise image
            readable.append(to_pixels(image, record.image_size))
        yield np.stack(readable)


def _run(runtime: OnnxDetector, images: Sequence[ImageSource], count: _Count) -> Results:
    found = [runtime.run(count.counted(batch)) for batch in _inputs(runtime, images)]
    maps, scores = (np.concatenate(values) for values in zip(*found, strict=True))
    if not (np.isfinite(maps).all() and np.isfinite(scores).all()):
        raise ModelError("In int8 this model gives maps or scores that are not finite: export it in float32.")
    return maps, scores.astype(float)


def _metrics(runtimes: Sequence[OnnxDetector], tested: Sequence[Sample], count: _Count) -> list[Metrics]:
    """Of each runtime on the test images; one after the other, so that the maps of one are held."""
    if not tested:
        return [Metrics() for _ in runtimes]
    truth = TestSet(tested, runtimes[0].record.image_size)
    sources = [sample.source for sample in tested]
    return [truth.evaluate(*_run(runtime, sources, count)) for runtime in runtimes]


def _pair(before: float | None, after: float | None) -> tuple[float, float] | None:
    return None if before is None or after is None else (before, after)


def _rank_correlation(before: np.ndarray, after: np.ndarray) -> float | None:
    if len(set(before.tolist())) < 2 or len(set(after.tolist())) < 2:
        return None
    return float(stats.spearmanr(before, after).statistic)


def _map_difference(before: np.ndarray, after: np.ndarray) -> float:
    spread = float(before.std(dtype=np.float64))
    return float(np.abs(before - after).mean(dtype=np.float64)) / (spread or 1.0)


def _speed(float32: OnnxDetector, int8: OnnxDetector) -> float:
    """The median ratio of times for one image, in turn: what else the computer does slows both."""
    side, ratios = float32.record.image_size, []
    image = np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)
    for _ in range(ROUNDS + 1):  # the first one warms up
        times = []
        for runtime in (float32, int8):
            began = time.perf_counter()
            runtime.run(image)
            times.append(time.perf_counter() - began)
        ratios.append(times[0] / times[1])
    return float(np.median(ratios[1:]))
