"""Hostile models are loaded, or refused in one line; what is loaded predicts, or says in one line why it cannot."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from altub import AnomalyDetector
from altub.inference.model_cache import ModelCache
from altub.inference.model_files import CONFIG_FILE, WEIGHTS_FILE
from altub.runs.run import Run
from tests.conftest import SIDE
from tests.fuzz.models import hostile_models
from tests.fuzz.verdict import contents, count, problem, report

CASES = 200


def use(folder: Path, image: np.ndarray) -> None:
    detector = AnomalyDetector.load(folder, device="cpu")
    if detector.config.image_size <= 2 * SIDE:  # a large one is allowed to take its time
        prediction = detector.predict(image)
        if detector.calibration is not None:
            prediction.at(detector.threshold).mask.sum()


def test_models_are_loaded_or_refused(trained_run: Run, tmp_path: Path) -> None:
    config = (trained_run.model_dir / CONFIG_FILE).read_bytes()
    weights = (trained_run.model_dir / WEIGHTS_FILE).read_bytes()
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    folder = tmp_path / "some-run" / "model"
    folder.mkdir(parents=True)
    problems = []
    for number, (name, changed_config, changed_weights) in enumerate(hostile_models(3, count(CASES), config, weights)):
        (folder / CONFIG_FILE).write_bytes(changed_config)
        (folder / WEIGHTS_FILE).write_bytes(changed_weights)
        before = contents(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, about numbers that are none
            problems.append((name, problem(lambda: use(folder, image), tmp_path)))
        if number % 5 == 0:
            problems.append((f"{name} by the page", problem(lambda: ModelCache(device="cpu").get(folder), tmp_path)))
        if contents(tmp_path) != before:
            problems.append((name, "wrote something"))
    report(problems)
