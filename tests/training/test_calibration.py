"""What a detector takes from held-out good images, and a base that follows the images it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from altub import AnomalyDetector, Run, load_category
from altub.data.splits import split_held_out
from altub.device import Workers
from altub.errors import ModelError
from altub.training.adapt import fit_base
from altub.training.calibration import calibrate
from altub.training.features import FeatureStore


@pytest.fixture
def detector(trained_run: Run) -> AnomalyDetector:
    return AnomalyDetector.load(trained_run.model_dir, device="cpu")


@pytest.fixture
def stores(trained_run: Run, detector: AnomalyDetector, tmp_path: Path) -> list[FeatureStore]:
    """Features of the images that the run trained on, and of those that it held out."""
    config = trained_run.config
    parts = split_held_out(load_category(config.data, config.category).train, config.held_out, config.seed)
    found = [
        FeatureStore(
            detector.backbone,
            part,
            config.image_size,
            device=torch.device("cpu"),
            budget=1 << 30,
            spill=tmp_path / str(index),
        )
        for index, part in enumerate(parts)
    ]
    for store in found:
        list(store.fill())
    return found


def test_calibrating_again_gives_the_calibration_of_the_training(
    detector: AnomalyDetector, stores: list[FeatureStore]
) -> None:
    told = detector.calibration
    detector.calibration = None
    found = calibrate(detector, stores[1], Workers(torch.device("cpu")))
    assert detector.calibration == told
    assert found.maps.shape == (len(stores[1]), 64, 64) and found.scores.shape == (len(stores[1]),)
    assert len(found.nll) == len(detector.pyramid.heads) and all(map(np.isfinite, found.nll))


def test_weights_that_give_no_number_keep_the_calibration(
    detector: AnomalyDetector, stores: list[FeatureStore]
) -> None:
    told = detector.calibration
    with torch.no_grad():
        next(detector.pyramid.flow_parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="no finite scores"):
        calibrate(detector, stores[1], Workers(torch.device("cpu")))
    assert detector.calibration is told


def test_fit_base_is_the_best_base_for_a_frozen_flow(detector: AnomalyDetector, stores: list[FeatureStore]) -> None:
    pyramid = detector.pyramid
    flow = [parameter.clone() for parameter in pyramid.flow_parameters()]

    def nll() -> float:
        with torch.no_grad():
            parts = [pyramid.nll(pyramid.normalise(features)) for _, features in stores[0].batches(4)]
        return float(sum(values.double().sum() for part in parts for values in part))

    before = nll()
    fit_base(pyramid, stores[0])
    best = nll()
    assert best < before
    assert all(torch.equal(a, b) for a, b in zip(flow, pyramid.flow_parameters(), strict=True))
    with torch.no_grad():
        for change in (0.02, -0.02):
            pyramid.bases[0].mean.add_(change)
            assert nll() > best
            pyramid.bases[0].mean.sub_(change)


def test_fit_base_that_is_ended_changes_nothing(detector: AnomalyDetector, stores: list[FeatureStore]) -> None:
    before = [parameter.clone() for parameter in detector.pyramid.base_parameters()]

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_base(detector.pyramid, stores[0], check=stop)
    assert all(torch.equal(a, b) for a, b in zip(before, detector.pyramid.base_parameters(), strict=True))
