"""A trained detector, the pictures it was tested on, and a copy of its files to be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from altub.inference.detector import AnomalyDetector
from altub.runs.run import Run


@pytest.fixture(scope="package")
def detector(trained_run: Run) -> AnomalyDetector:
    """Not to be changed."""
    return AnomalyDetector.load(trained_run.model_dir, "cpu")


@pytest.fixture(scope="package")
def pictures(data_folder: Path) -> list[Path]:
    return sorted((data_folder / "weave/test").rglob("*.png"))


@pytest.fixture
def model_dir(trained_run: Run, tmp_path: Path) -> Path:
    """A copy of the trained model, to be damaged."""
    return Path(shutil.copytree(trained_run.model_dir, tmp_path / "model"))
