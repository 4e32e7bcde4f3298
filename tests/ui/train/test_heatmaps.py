"""Heatmaps of test images, early against now."""

from __future__ import annotations

from pathlib import Path

from altub.evaluation.examples import kept_epochs
from altub.runs.run import Run
from altub.training.config import TrainingConfig
from altub.ui.train.heatmaps import example_cards


def test_heatmaps_of_a_real_run(trained_run: Run) -> None:
    epochs = kept_epochs(trained_run.examples_dir)
    assert epochs[-1] == 4
    alone, compared = example_cards(trained_run, None), example_cards(trained_run, epochs[0])
    assert "epoch 4" in alone and f"epoch {epochs[0]}<" not in alone
    assert f"epoch {epochs[0]}<" in compared
    assert compared.count("data:image/webp") > alone.count("data:image/webp") > 0
    assert "cannot be read" not in compared
    assert str(trained_run.path) not in compared


def test_heatmaps_before_the_first_epoch(small_config: TrainingConfig, tmp_path: Path) -> None:
    assert "after the first epoch" in example_cards(Run.create(tmp_path / "r", small_config), None)
