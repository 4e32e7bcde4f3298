"""A category of more than 8 bits: white is measured on its training images, once, and goes with the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.data import PixelRange, read_image
from altub.inference.detector import AnomalyDetector
from altub.runs.run import Run
from altub.training.config import TrainingConfig, make_config
from altub.training.loop import train
from tests.conftest import write_category

SCALE = 12  # of 8-bit values up to 250: a camera of 12 bits


@pytest.fixture(scope="module")
def deep_run(tmp_path_factory: pytest.TempPathFactory, small_config: TrainingConfig) -> Run:
    """A run on 12-bit images in files of 16 bits, each with a hot pixel."""
    root = tmp_path_factory.mktemp("deep")
    folder = write_category(root / "data" / "weave", masks=False)
    for path in folder.glob("*/*/*.png"):
        values = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * SCALE
        values[3, 5] = 65535
        Image.fromarray(values).save(path)
    changes = {"data": str(root / "data"), "epochs": 2}
    run = Run.create(root / "run", make_config(**{**small_config.model_dump(), **changes}))
    for _ in train(run):
        pass
    return run


def test_the_run_and_its_model_know_the_range(deep_run: Run) -> None:
    told = PixelRange(integers=4095)
    assert AnomalyDetector.load(deep_run.model_dir, "cpu").config.pixel_range == told
    assert json.loads(deep_run.data_file.read_text())["pixel_range"] == {"integers": 4095, "floats": None}
    assert told.notes[0] in deep_run.status.notes


def test_a_hot_pixel_does_not_change_the_verdict(deep_run: Run) -> None:
    detector = AnomalyDetector.load(deep_run.model_dir, "cpu")
    good = np.asarray(Image.open(Path(deep_run.config.data) / "weave/test/good/000.png")).copy()
    scores = {}
    for hot in (0, 4095, 4096, 65535):
        good[3, 5] = hot
        scores[hot] = detector.predict(good).score
    assert scores[4095] == scores[4096] == scores[65535]
    assert scores[65535] == pytest.approx(scores[0], abs=0.05)


def test_an_8_bit_model_reads_deep_images_without_their_hot_pixels(trained_run: Run, data_folder: Path) -> None:
    detector = AnomalyDetector.load(trained_run.model_dir, "cpu")
    assert detector.config.pixel_range == PixelRange() and detector.config.pixel_range.notes == []
    grey = np.asarray(Image.open(data_folder / "weave/test/good/000.png").convert("L"))
    shallow, deep = detector.predict(grey).score, grey.astype(np.uint16)
    deep[3, 5] = 256
    assert detector.predict(deep).score == pytest.approx(shallow, abs=0.05)


def test_models_of_old_read_as_they_did(deep_run: Run, tmp_path: Path) -> None:
    """Without a range in its configuration, the largest value of each image decides."""
    detector = AnomalyDetector.load(deep_run.model_dir, "cpu")
    old = AnomalyDetector(
        detector.config.model_copy(update={"pixel_range": None}),
        detector.backbone,
        detector.pyramid,
        detector.calibration,
    )
    path = Path(deep_run.config.data) / "weave/test/good/000.png"
    assert old.predict(path).score == old.predict(read_image(path)).score
    assert old.predict(path).score != detector.predict(path).score


def test_a_resumed_run_keeps_its_range(deep_run: Run, small_config: TrainingConfig) -> None:
    """Also where later images would give another one, and where version 0.1.0 began without."""
    config = deep_run.config.model_copy(update={"epochs": 3})
    deep_run.replace_config(config)
    record = json.loads(deep_run.data_file.read_text())
    del record["pixel_range"]
    deep_run.data_file.write_text(json.dumps(record))
    for _ in train(deep_run):
        pass
    assert AnomalyDetector.load(deep_run.model_dir, "cpu").config.pixel_range is None
