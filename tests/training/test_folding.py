"""Norms that training leaves as they are pass into the kept features, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from altub.backbones import Backbone, create_backbone
from altub.data import load_category
from altub.device import Workers
from altub.flows import FlowConfig, FlowPyramid
from altub.flows.norms import NoNorm
from altub.runs.run import Run
from altub.training.config import TrainingConfig
from altub.training.features import FeatureStore
from altub.training.loop import train
from altub.training.preparation import fit_norms
from tests.conftest import SIDE
from tests.training.runs import assert_same_weights, run_through, variant, weights

PLENTY = 1 << 40
ROWS = [7, 0, 3, 0]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return create_backbone("filter-bank", image_size=SIDE)


def filled(backbone: Backbone, data: Path, spill: Path, **options) -> FeatureStore:
    samples = load_category(data, "weave").train
    options = {"budget": PLENTY, **options}
    store = FeatureStore(backbone, samples, SIDE, device=torch.device("cpu"), spill=spill, **options)
    assert list(store.fill())[-1:] in ([], [len(samples)])
    return store


def fitted(store: FeatureStore, norm: str) -> FlowPyramid:
    pyramid = FlowPyramid(FlowConfig(steps=1, norm=norm, position_rank=4), store.shapes)
    assert all(isinstance(line, str) for line in fit_norms(pyramid, store, Workers(store.device)))
    return pyramid


@pytest.mark.parametrize("norm", ["position", "whiten", "channel", "layer"])
@pytest.mark.parametrize("budget", [PLENTY, 0])
@pytest.mark.parametrize("threads", [False, True])
def test_a_folded_store_gives_what_the_norms_would(
    backbone: Backbone, data_folder: Path, tmp_path: Path, norm: str, budget: int, threads: bool
) -> None:
    workers = Workers(torch.device("cpu")) if threads else None
    store = filled(backbone, data_folder, tmp_path / "a", budget=budget, workers=workers)
    pyramid = fitted(store, norm)
    assert store.mode == ("memory" if budget else "disk")
    assert list(store.norms_left(pyramid)) == list(pyramid.norms)
    wanted = pyramid.normalise(store.batch(ROWS))

    assert list(store.fold(pyramid.norms)) == [len(store)]

    left = store.norms_left(pyramid)
    assert all(isinstance(one, NoNorm) for one in left)
    for level, expected in zip(pyramid.normalise(store.batch(ROWS), left), wanted, strict=True):
        torch.testing.assert_close(level, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    store.close()
    if workers is not None:
        workers.close()


def test_a_norm_that_is_trained_stays_in_the_step(backbone: Backbone, data_folder: Path, tmp_path: Path) -> None:
    store = filled(backbone, data_folder, tmp_path / "a")
    pyramid = fitted(store, "layer-affine")
    before = store.batch(ROWS)
    assert list(store.fold(pyramid.norms)) == []
    assert list(store.norms_left(pyramid)) == list(pyramid.norms)
    assert all(torch.equal(a, b) for a, b in zip(before, store.batch(ROWS), strict=True))


def test_features_that_are_not_kept_have_still_to_pass(backbone: Backbone, data_folder: Path, tmp_path: Path) -> None:
    store = filled(backbone, data_folder, tmp_path / "a", augment=lambda images, epoch, indices: images.flip(3))
    pyramid = fitted(store, "position")
    assert list(store.fold(pyramid.norms)) == []
    assert list(store.norms_left(pyramid)) == list(pyramid.norms)


def in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("altub.training.loop.fold_norms", lambda parts: iter(()))


def losses(run: Run) -> list[list[float]]:
    return [[*(record.loss_heads or []), *record.held_out_heads] for record in run.events(start=True)]


@pytest.mark.parametrize("update", ["moments", "gradient"])
def test_a_training_is_the_same_as_with_the_norms_in_every_step(
    small_config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: str
) -> None:
    flow, base = {"norm": "position", "position_rank": 4, "steps": 2}, {"base_update": update, "interval": 1}
    config = variant(small_config, precision="fp32", epochs=2, flow=flow, base=base)
    folded = run_through(tmp_path / "folded", config)
    with monkeypatch.context() as here:
        in_every_step(here)
        plain = run_through(tmp_path / "plain", config)
    for ours, theirs in zip(losses(folded), losses(plain), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    saved = weights(plain)
    for name, value in weights(folded).items():
        torch.testing.assert_close(value, saved[name], rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("norm", ["position", "layer-affine"])
def test_stopped_and_resumed_is_undisturbed(small_config: TrainingConfig, tmp_path: Path, norm: str) -> None:
    config = variant(small_config, epochs=2, flow={"norm": norm, "position_rank": 4, "steps": 2})
    whole = run_through(tmp_path / "whole", config)
    run = Run.create(tmp_path / "stopped", config)
    for event in train(run):
        if event.status.epoch == 1 and event.status.step == 1:
            run.request_stop()
    assert run.read_status().state == "stopped"
    for _ in train(Run.open(run.path)):
        pass
    assert_same_weights(whole, run)


def test_folds_of_a_cross_calibration_see_the_features_as_they_are(
    small_config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = variant(small_config, epochs=1, cross_folds=2)
    run = run_through(tmp_path / "folded", config)
    in_every_step(monkeypatch)
    assert_same_weights(run, run_through(tmp_path / "plain", config))
