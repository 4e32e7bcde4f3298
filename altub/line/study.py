"""How well an adaptation makes up for shifts of known size: the tables of docs/results-adaptation.md.

    python -m altub.line.study --run runs/bottle --output adaptation/bottle.csv

For every shift the held-out and the test images of a run are shifted. Some of the shifted held-out images are today's
good ones; the model is adapted to them by each way, and then judges what is left: the other held-out images and the
test set. A row a model: image AUROC, and the share of good images above the threshold that promises the nominal rate.
The run should hold out many images (`--set held_out=0.4`), none of which its flow has seen.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from altub.data import Category, Sample, load_category
from altub.data.category import interleave_defects
from altub.device import Workers
from altub.errors import RunError
from altub.evaluation.metrics import image_auroc
from altub.inference.detector import AnomalyDetector
from altub.inference.threshold import DEFAULT_FALSE_ALARM_RATE
from altub.line.shifts import SHIFTS, shifted
from altub.runs.run import Run
from altub.training.adaptation import WAYS, Way, adapt_detector
from altub.training.data_record import DataRecord
from altub.training.features import FeatureStore
from altub.training.short import Part

__all__ = ["Outcome", "main", "study"]

RATE = DEFAULT_FALSE_ALARM_RATE  # nominal share of false alarms
BATCH = 8


@dataclass(frozen=True)
class Outcome:
    """One model on one shift.

    Attributes:
        shift, strength: "none" and "" before any shift.
        way: "none" for the model as it was.
        images, draw: how many good images it was adapted to, and which choice of them.
        auroc: of the images.
        false_alarms: share of good images above the threshold.
        seconds: that the adaptation took, its features not counted.
    """

    shift: str
    strength: str
    way: str
    images: int
    draw: int
    auroc: float
    false_alarms: float
    seconds: float


def study(
    detector: AnomalyDetector,
    held_out: Sequence[Sample],
    test: Sequence[Sample],
    *,
    ways: Sequence[Way],
    counts: Sequence[int],
    draws: int,
    shifts: Sequence[tuple[str, str, float]],
) -> Iterator[Outcome]:
    """Yields the outcome of every model; see the module."""
    workers = Workers(detector.device)
    defective = np.array([sample.is_defective for sample in test])
    for name, strength, size in [("none", "", 0.0), *shifts]:
        with tempfile.TemporaryDirectory(prefix="altub-study-") as spill:
            stores = []
            for part, samples in (("good", held_out), ("test", test)):
                store = _store(detector, samples, name, size, Path(spill) / part)
                for _ in store.fill():
                    pass
                stores.append(store)
            good, tested = stores

            def judge(model: AnomalyDetector, left: Sequence[int]) -> tuple[float, float]:
                rest = _scores(model, good, left, workers)  # noqa: B023 - called within the same pass of the loop
                scores = _scores(model, tested, range(len(test)), workers)  # noqa: B023
                fine = np.concatenate([rest, scores[~defective]])
                value = model.require_calibration().threshold(RATE).value
                labels = np.concatenate([np.zeros(len(fine), bool), np.ones(defective.sum(), bool)])
                auroc = image_auroc(np.concatenate([fine, scores[defective]]), labels)
                return float(auroc), float((fine > value).mean())

            if name == "none":  # the held-out images are those of the calibration: only the test set is new
                yield Outcome(name, strength, "none", 0, 0, *judge(detector, []), 0.0)
                continue
            yield Outcome(name, strength, "none", 0, 0, *judge(detector, range(len(held_out))), 0.0)
            for count in counts:
                for draw in range(draws):
                    order = np.random.default_rng([count, draw]).permutation(len(held_out)).tolist()
                    for way in ways:
                        began = time.monotonic()
                        subset = _Subset(good, order[:count])
                        model = adapt_detector(detector, subset, way, workers).detector
                        seconds = time.monotonic() - began
                        yield Outcome(name, strength, way, count, draw, *judge(model, order[count:]), seconds)
            for store in stores:
                store.close()


class _Subset(Part):
    """Some images of a store, in the form of one."""

    def __init__(self, store: FeatureStore, images: Sequence[int]) -> None:
        super().__init__(store, images)
        self.shapes, self.image_size, self.device = store.shapes, store.image_size, store.device
        self.describes = False  # scores alone are judged here, whole pictures are not

    def describe(self) -> Iterator[int]:
        return iter(())


def _store(detector: AnomalyDetector, samples: Sequence[Sample], name: str, size: float, spill: Path) -> FeatureStore:
    changed = []
    for index, sample in enumerate(samples):
        image = sample.read(detector.config.pixel_range)
        if name != "none":
            image = shifted(image, name, size, seed=index)
        changed.append(Sample(sample.path, sample.defect, image=np.asarray(image)))
    return FeatureStore(
        detector.backbone, changed, detector.config.image_size, device=detector.device, budget=8 << 30, spill=spill
    )


def _scores(model: AnomalyDetector, store: FeatureStore, images: Sequence[int], workers: Workers) -> np.ndarray:
    images, side = list(images), store.image_size

    def piece(start: int) -> np.ndarray:
        _, scales = model.maps_from_features(store.batch(images[start : start + BATCH]), (side, side))
        return model.image_scores(scales.float()).double().cpu().numpy()

    return np.concatenate([np.empty(0), *workers.map(piece, range(0, len(images), BATCH))])


def _images_of(run: Run, category: Category, most: int) -> tuple[list[Sample], list[Sample]]:
    """Held-out and test images of a run; of the defective ones at most `most`, of all kinds alike."""
    split = DataRecord.read(run.data_file, run.id).restore(run.id, category)
    good = [sample for sample in split.tested if not sample.is_defective]
    chosen = [split.tested[place] for place in interleave_defects(split.tested)[:most]]
    return split.held_out, [*good, *chosen]


def main(
    run: Annotated[Path, typer.Option(help="A finished run.")],
    output: Annotated[Path, typer.Option(help="CSV file; a row is added for every model.")],
    ways: Annotated[str, typer.Option(help="With commas.")] = ",".join(WAYS),
    counts: Annotated[str, typer.Option(help="Numbers of good images, with commas.")] = "8,16,32,64",
    draws: Annotated[int, typer.Option(help="Choices of the good images.")] = 3,
    strengths: Annotated[str, typer.Option(help="mild, strong or both with a comma.")] = "mild,strong",
    shifts: Annotated[str, typer.Option(help="With commas.")] = ",".join(SHIFTS),
    held_out: Annotated[int, typer.Option(help="Largest number of held-out images.")] = 1000,
    defective: Annotated[int, typer.Option(help="Largest number of defective images.")] = 1000,
) -> None:
    """Adapts a run's model to shifted images and writes how well each way does."""
    opened = Run(run)
    if not opened.data_file.is_file():
        raise RunError(f"{run} has no record of its images: give the folder of a finished run.")
    category = load_category(opened.config.data, opened.config.category)
    good, test = _images_of(opened, category, defective)
    detector = AnomalyDetector.load(opened.model_dir, "cpu")
    sizes = [
        (name, word, SHIFTS[name][("mild", "strong").index(word)])
        for word in strengths.split(",")
        for name in shifts.split(",")
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    is_new = not output.exists()
    with output.open("a", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(Outcome.__dataclass_fields__), lineterminator="\n")
        if is_new:
            table.writeheader()
        for outcome in study(
            detector,
            good[:held_out],
            test,
            ways=ways.split(","),
            counts=[int(count) for count in counts.split(",")],
            draws=draws,
            shifts=sizes,
        ):
            table.writerow(asdict(outcome))
            file.flush()


if __name__ == "__main__":
    typer.run(main)
