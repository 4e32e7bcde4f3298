"""Defects on good images before a detector that marks what differs from grey: what it finds is known beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from altub.data import Category, Sample
from altub.data.synthetic import DEFECT_KINDS
from altub.errors import ConfigError, DataError, ModelError
from altub.evaluation.detectability import Detectability, Plan, measure_detectability, unseen_good
from altub.evaluation.detectability.examples import draw_examples, example_picture, read_examples
from altub.evaluation.detectability.report import report_lines, write_report
from altub.inference.calibration import Calibration
from altub.inference.detector import AnomalyDetector
from altub.inference.threshold import Threshold
from altub.runs.run import Run
from tests.conftest import SIDE, write_category
from tests.inference.detectors import untrained

GREY = 120
PLAN = Plan(kinds=("scratch", "spot", "colour"), trials=30, smallest=1, largest=30)


def difference(images: Sequence[Image.Image], image_size: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """A map source: how far each pixel is from grey."""
    maps = np.stack([np.abs(np.asarray(image, np.float32) - GREY).max(axis=-1) for image in images])
    return torch.from_numpy(maps), torch.from_numpy(maps)[:, None]


@pytest.fixture(scope="module")
def detector() -> AnomalyDetector:
    """Calls an image defective whose most different hundredth (41 of 64 x 64 pixels) lies, in the mean, above 20."""
    made = untrained()
    made.config = made.config.model_copy(update={"score_share": 0.01})
    made.map_source = difference
    made.calibration = Calibration(scores=np.full(19, 20.0), colour_low=0.0, colour_high=40.0, peaks=np.full(19, 20.0))
    return made


def plate(seed: int, stain: bool = False) -> np.ndarray:
    image = np.random.default_rng(seed).integers(GREY - 3, GREY + 4, (SIDE, SIDE, 3)).astype(np.uint8)
    if stain:
        image[:20, :20] = 255  # at the border, so that it is not taken for the part
    return image


GOOD = [Sample(Path(f"good-{k}"), image=plate(k)) for k in range(6)]


def test_the_size_that_is_found_follows_from_the_score(detector: AnomalyDetector) -> None:
    result = measure_detectability(detector, GOOD, plan=PLAN)
    assert len(result.trials) == 90 and {trial.image for trial in result.trials} == set(range(6))
    assert result.false_alarms == 0 and result.threshold == detector.threshold.to_dict()
    assert [sum(trial.image == k for trial in result.trials) for k in range(6)] == [15] * 6
    # 64 of 255 grey levels over 41 pixels' mean: more than 20 needs about a third of the 41 pixels, or 4 across.
    curve = result.curve(0.25)
    assert 2.5 < curve.size_at(0.5) < 5.5 and curve.size_at(0.9) < curve.bound_at(0.9) < 10
    assert result.curve(0.25, "spot").sizes[0] >= 2 / math.sqrt(math.pi)
    faint = measure_detectability(detector, GOOD, plan=Plan(kinds=("spot",), contrasts=(0.05,), trials=20))
    assert not any(trial.hit for trial in faint.trials), "13 grey levels never reach the threshold"
    assert faint.curve(0.05).size_at(0.9) == math.inf


def test_the_same_seed_gives_the_same_result_and_scale_only_the_unit(detector: AnomalyDetector) -> None:
    one, other = (measure_detectability(detector, GOOD, plan=PLAN) for _ in range(2))
    assert one == other
    assert one != measure_detectability(detector, GOOD, plan=Plan(**{**vars(PLAN), "seed": 1}))
    scaled = measure_detectability(detector, GOOD, plan=PLAN, mm_per_pixel=0.1)
    assert scaled.curve(0.25).size_at(0.9) == pytest.approx(0.1 * one.curve(0.25).size_at(0.9))
    assert scaled.unit == "mm" and "mm" in "".join(report_lines(scaled))


def test_a_false_alarm_is_no_hit_unless_it_touches(detector: AnomalyDetector) -> None:
    stained = [Sample(Path(f"stained-{k}"), image=plate(k, stain=True)) for k in range(4)]
    result = measure_detectability(detector, stained, plan=Plan(kinds=("spot",), contrasts=(0.01,), trials=60))
    assert result.false_alarms == 4
    hits = [trial.hit for trial in result.trials]
    assert hits == [trial.by_chance for trial in result.trials], "a faint spot is hit only where the stain is"
    assert 0 < sum(hits) < 40
    assert f"{sum(hits)} of 60 defects lie where" in "\n".join(report_lines(result))


def test_real_defects_beside_it(detector: AnomalyDetector) -> None:
    def real(name: str, level: int, side: int) -> Sample:
        image, mask = plate(9), np.zeros((SIDE, SIDE), bool)
        mask[20 : 20 + side, 20 : 20 + side] = True
        image[mask] = level
        return Sample(Path(name), "dent", image=image, mask=mask)

    elsewhere = Sample(Path("c"), "shift", image=plate(9, stain=True), mask=np.eye(SIDE, dtype=bool)[::-1])
    samples = [real("a", 255, 12), real("b", 122, 12), elsewhere, Sample(Path("d"), "dent", image=plate(9)), *GOOD]
    result = measure_detectability(detector, GOOD, plan=PLAN, real=samples)
    assert [(found.defect, found.area, found.hit) for found in result.real] == [
        ("dent", 144, True),
        ("dent", 144, False),
        ("shift", SIDE, False),  # called defective, but marked elsewhere
    ]
    dents = result.real_rows()[0]
    assert (dents["images"], dents["hits"]) == (2, 1) and 1.9 < dents["expected"]["0.25"] <= 2
    assert "dent" in "\n".join(report_lines(result))


def test_result_chart_and_examples_in_a_folder(detector: AnomalyDetector, tmp_path: Path) -> None:
    result = measure_detectability(detector, GOOD, plan=PLAN, weights_sha256="0" * 64)
    written = write_report(tmp_path / "out", result, detector, GOOD)
    assert [path.name for path in written] == [
        "detectability.json",
        "detectability.png",
        "detectability-examples.png",
    ]
    assert Detectability.read(tmp_path / "out") == result
    examples = draw_examples(detector, GOOD, result)
    picture = example_picture(examples, result)
    assert picture.size[0] > 3 * SIDE and np.asarray(picture).std() > 10
    assert np.asarray(Image.open(written[1])).std() > 5
    stored = read_examples(tmp_path / "out", result)
    assert [one.words(result) for one in stored] == [one.words(result) for one in examples]
    assert [one.kind for one in stored] == list(PLAN.kinds) and all(one.size > 1 for one in stored)
    assert np.array_equal(np.asarray(Image.open(stored[0].image)), np.asarray(examples[0].image))
    assert not read_examples(tmp_path / "out", result.model_copy(update={"weights_sha256": "1" * 64}))
    index = tmp_path / "out/examples/examples.json"
    index.write_text(index.read_text().replace('"spot.png"', '"../../secret.png"'))
    assert read_examples(tmp_path / "out", result)[1].image == tmp_path / "out/examples/secret.png"
    (tmp_path / "out/detectability.json").write_text('{"category": 3}')
    with pytest.raises(ModelError, match="measure the detectability again"):
        Detectability.read(tmp_path / "out")


def test_good_images_that_were_not_trained_on(trained_run: Run, data_folder: Path, tmp_path: Path) -> None:
    from altub.data import load_category
    from altub.training.data_record import DataRecord

    category = load_category(str(data_folder), "weave")
    found = unseen_good(trained_run.model_dir, category)
    entries = DataRecord.read(trained_run.data_file, "run").images
    held_out = {Path(entry.name).name for entry in entries if entry.part == "held-out"}
    assert {sample.path for sample in found if "test" in sample.path.parts} == {
        sample.path for sample in category.test if not sample.is_defective
    }
    assert {sample.path.name for sample in found if "train" in sample.path.parts} == held_out
    # Without the record only test images are sure; trained images under another name are none.
    assert len(unseen_good(tmp_path / "model", category)) == 4
    copied = load_category(str(write_category(tmp_path / "data" / "weave", tested=4).parent), "weave")
    trained = Category("weave", copied.root, (), tuple(Sample(s.path) for s in category.train), "memory")
    assert len(unseen_good(trained_run.model_dir, trained)) == len(held_out)
    with pytest.raises(DataError, match="test/good"):
        unseen_good(tmp_path / "model", Category("weave", copied.root, category.train, (), "memory"))


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"kinds": ("dent",)}, "dent"),
        ({"kinds": ()}, "scratch"),
        ({"contrasts": (0.0,)}, "contrast"),
        ({"trials": 1}, "2 trials"),
        ({"smallest": 0.5}, "1 pixel"),
        ({"smallest": 9, "largest": 5}, "largest"),
    ],
)
def test_plans_out_of_range(wish: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Plan(**wish)


def test_what_cannot_be_measured_is_refused(detector: AnomalyDetector) -> None:
    with pytest.raises(DataError, match="no good image"):
        measure_detectability(detector, [])
    with pytest.raises(ConfigError, match="above 0"):
        measure_detectability(detector, GOOD, mm_per_pixel=0.0)
    assert Plan().kinds == DEFECT_KINDS and Threshold.fixed(1, 2).origin.promise
