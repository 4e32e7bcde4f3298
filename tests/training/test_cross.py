"""Cross-conformal calibration: every good image counts, the weights stay, and what is promised is an estimate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from altub.errors import ConfigError
from altub.inference import AnomalyDetector
from altub.runs.run import Run
from altub.training.config import TrainingConfig, make_config
from altub.training.cross import fold_images
from altub.training.loop import train
from tests.training.runs import run_through, variant, weights


@pytest.fixture(scope="module")
def crossed(small_config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_through(tmp_path_factory.mktemp("crossed") / "r", variant(small_config, cross_folds=3))


def test_folds_are_a_partition_by_the_seed() -> None:
    folds = fold_images(11, 4, seed=3)
    assert sorted(image for fold in folds for image in fold) == list(range(11))
    assert {len(fold) for fold in folds} == {2, 3}
    assert folds == fold_images(11, 4, seed=3) != fold_images(11, 4, seed=4)
    assert len(fold_images(2, 5, seed=0)) == 2


def test_all_good_images_calibrate_and_the_weights_are_those_without(crossed: Run, trained_run: Run) -> None:
    kept, found = weights(trained_run), weights(crossed)
    assert all(name.startswith("calibration.") for name in kept if not torch.equal(kept[name], found[name]))
    with_folds, without = (AnomalyDetector.load(run.model_dir) for run in (crossed, trained_run))
    n = without.calibration.scores.size
    assert with_folds.calibration.folds == 3 and with_folds.calibration.scores.size == 12 > n
    # The held-out images are scored by the model itself, with the ranges that it had.
    assert set(np.round(without.calibration.scores, 4)) <= set(np.round(with_folds.calibration.scores, 4))
    origin = with_folds.threshold.origin
    assert (origin.n, origin.folds, origin.promised_rate) == (12, 3, pytest.approx(1 / 13))
    assert origin.promise.startswith("About 7.69 %") and "not a proven bound" in origin.promise
    assert crossed.status.state == "finished"


def test_no_image_is_scored_by_a_model_that_saw_it(small_config: TrainingConfig, tmp_path: Path, monkeypatch) -> None:
    from altub.training import cross

    seen: list[tuple[set[int], set[int]]] = []
    train_fold, energies = cross._train_fold, cross._energies

    def note_trained(parts, images, title):
        pyramid = yield from train_fold(parts, images, title)
        pyramid.saw = set(images.images)
        return pyramid

    def note_scored(parts, pyramid, images):
        if hasattr(pyramid, "saw"):
            seen.append((pyramid.saw, set(images.images)))
        return energies(parts, pyramid, images)

    monkeypatch.setattr(cross, "_train_fold", note_trained)
    monkeypatch.setattr(cross, "_energies", note_scored)
    run_through(tmp_path / "r", variant(small_config, epochs=1, cross_folds=4))
    assert len(seen) == 4 and all(not saw & scored for saw, scored in seen)
    scored = [image for _, images in seen for image in images]
    assert len(scored) == len(set(scored)) and set(scored) == set().union(*(saw for saw, _ in seen))


def test_a_stop_between_the_folds_is_resumed_to_the_same_thresholds(
    small_config: TrainingConfig, crossed: Run, tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "r", variant(small_config, cross_folds=3))
    told = []
    for event in train(run, should_stop=lambda: "fold 2" in (told[-1] if told else "")):
        told.append(event.status.stage or "")
    assert run.status.state == "stopped" and run.status.epoch == small_config.epochs
    assert AnomalyDetector.load(run.model_dir).calibration.folds == 0
    for _ in train(run):
        pass
    assert AnomalyDetector.load(run.model_dir).calibration == AnomalyDetector.load(crossed.model_dir).calibration


def test_the_base_in_closed_form_and_a_fitted_norm_are_made_anew_for_every_fold(tmp_path: Path, data_folder) -> None:
    config = make_config(
        data=str(data_folder),
        category="weave",
        backbone="filter-bank",
        image_size=64,
        epochs=1,
        cross_folds=2,
        flow={"steps": 1, "hidden_ratio": 0.5, "position_rank": 2},
        device="cpu",
    )
    model = AnomalyDetector.load(run_through(tmp_path / "r", config).model_dir)
    assert model.config.flow.norm == "position" and model.calibration.scores.size == 12
    assert torch.isfinite(torch.tensor(model.calibration.scores)).all()


def test_wrong_numbers_of_folds_are_said() -> None:
    with pytest.raises(ConfigError, match="2 folds at least"):
        make_config(category="weave", cross_folds=1)
    with pytest.raises(ConfigError):
        make_config(category="weave", cross_folds=-1)
