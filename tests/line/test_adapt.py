"""A model that follows the line: what is won back, what is refused, what is kept."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from altub import AnomalyDetector, Run
from altub.errors import ConfigError, DataError, ModelError
from altub.line.adapt import UnlikeGoodPartsError, adapt
from altub.line.shifts import SHIFTS
from altub.training import adaptation
from altub.training.adaptation import WAYS, Way, passes_of, usable_ways
from altub.training.config import make_config
from altub.training.features import FeatureStore
from altub.training.steps import Alternation
from tests.conftest import SIDE, write_category
from tests.line.parts import STRONG, parts
from tests.training.runs import run_through


@pytest.fixture(scope="module")
def detector(line_run: Run) -> AnomalyDetector:
    return AnomalyDetector.load(line_run.model_dir, "cpu")


def rejected(detector: AnomalyDetector, images: list[Image.Image]) -> float:
    """Share of images above the model's own threshold."""
    value = detector.threshold.value
    return float(np.mean([one.score > value for one in detector.predict_many(images)]))


def test_false_alarms_of_a_strong_shift_are_won_back(detector: AnomalyDetector, tmp_path: Path) -> None:
    new, bad = parts(40, 5, shift=STRONG), parts(12, 6, shift=STRONG, blot=True)
    assert rejected(detector, new) > 0.9
    done = adapt(detector, parts(24, 4, shift=STRONG))
    report = done.report
    assert report.way == usable_ways(detector.pyramid)[0] and report.images == 24 and not report.notes
    assert report.rejected_before > 20 and report.p_values_before.max() < 0.5
    assert rejected(done.detector, new) <= 0.15 and rejected(done.detector, bad) == 1
    assert done.detector.threshold.origin.n == 24
    folder = done.detector.save(tmp_path / "model")
    again = AnomalyDetector.load(folder, "cpu")
    assert again.predict(new[0]).score == done.detector.predict(new[0]).score
    assert again.info.to_json()["adaptations"][0]["way"] == report.way
    assert any("24 good images above the threshold" in line for line in report.sentences())


@pytest.mark.parametrize("way", WAYS)
def test_every_way_moves_its_own_part_of_a_copy_and_brings_scores_down(detector: AnomalyDetector, way: Way) -> None:
    told = {name: value.clone() for name, value in detector.pyramid.state_dict().items()}
    today, new = parts(16, 4, shift=STRONG), parts(40, 5, shift=STRONG)
    calls: list[tuple[int, int]] = []
    done = adapt(detector, today, way=way, refuse=False, progress=lambda *passes: calls.append(passes))

    assert rejected(done.detector, new) <= 0.25
    before, after = (np.median([one.score for one in model.predict_many(new)]) for model in (detector, done.detector))
    assert after < 0.25 * before and np.isfinite(done.report.scores_after).all()

    report = done.report
    assert any(move.mean > 0 for move in report.base) == (way == "flow" or "base" in way)
    assert any(move.mean > 0 for move in report.norm) == ("norm" in way)
    assert all(step > 0 for step in report.flow) if way == "flow" else not any(report.flow)
    assert any("The weights of the flow" in line for line in report.sentences()) == (way == "flow")
    for name, value in detector.pyramid.state_dict().items():
        assert torch.equal(value, told[name]), f"{name} of the model that was given changed"
    assert not any(part.requires_grad for each in (detector, done.detector) for part in each.pyramid.parameters())

    # Every pass is counted once.
    assert all(low[0] < high[0] for low, high in pairwise(calls))
    assert calls[-1] == (passes_of(way, 16),) * 2

    again = adapt(detector, today, way=way, refuse=False)
    assert again.detector.fingerprint() == done.detector.fingerprint()


@pytest.mark.parametrize("way", ["norm-full+base", "flow"])
def test_calibration_images_are_scored_by_models_that_had_not_seen_them(
    detector: AnomalyDetector, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    scored: list[tuple[set[int], set[int]]] = []
    batch, adapted, energies = FeatureStore.batch, adaptation._Passes.adapted, adaptation._Passes.energies

    def note_read(store, indices, epoch=0):
        read.extend(indices)
        return batch(store, indices, epoch)

    def note_adapted(passes, sums, images):
        read.clear()
        pyramid = adapted(passes, sums, images)
        pyramid.saw = set(read)
        return pyramid

    def note_scored(passes, pyramid, images):
        if hasattr(pyramid, "saw"):
            scored.append((pyramid.saw, set(images)))
        return energies(passes, pyramid, images)

    monkeypatch.setattr(FeatureStore, "batch", note_read)
    monkeypatch.setattr(adaptation._Passes, "adapted", note_adapted)
    monkeypatch.setattr(adaptation._Passes, "energies", note_scored)
    adapt(detector, parts(10, 4, shift=STRONG), way=way, refuse=False)
    assert len(scored) == 4
    for saw, images in scored:
        assert saw == set(range(10)) - images
    assert sorted(image for _, images in scored for image in images) == list(range(10))


def test_models_that_have_seen_an_image_find_it_better_than_those_that_calibrate(detector: AnomalyDetector) -> None:
    today = parts(8, 4, shift=STRONG)
    done = adapt(detector, today)
    seen = np.array([one.score for one in done.detector.predict_many(today)])
    assert np.mean(done.report.scores_after - seen) > 0
    assert np.array_equal(np.sort(done.report.scores_after), done.detector.calibration.scores)


def test_a_flow_that_followed_is_saved_and_exported_as_any_model(detector: AnomalyDetector, tmp_path: Path) -> None:
    model = adapt(detector, parts(12, 4, shift=STRONG), way="flow").detector
    image = parts(1, 5, shift=STRONG)[0]
    again = AnomalyDetector.load(model.save(tmp_path / "model"), "cpu")
    assert again.fingerprint() == model.fingerprint() != detector.fingerprint()
    assert again.predict(image).score == model.predict(image).score
    pytest.importorskip("onnx")
    from altub.inference.onnx_export import TOLERANCE, export_onnx
    from altub.runtime import OnnxDetector

    export_onnx(model, tmp_path / "model.onnx")
    exported = OnnxDetector.load(tmp_path / "model.onnx", threads=1)
    assert exported.predict(image).score == pytest.approx(model.predict(image).score, abs=TOLERANCE)


@pytest.mark.parametrize("flow", [{"kind": "cflow"}, {"norm": "layer-affine"}, {"norm": "channel"}])
def test_every_kind_of_flow_follows(flow: dict[str, str], tmp_path: Path) -> None:
    write_category(tmp_path / "data" / "weave", good=30)
    config = make_config(
        data=str(tmp_path / "data"),
        category="weave",
        backbone="filter-bank",
        image_size=SIDE,
        epochs=2,
        flow={"steps": 2, "hidden_ratio": 0.5, **flow},
        device="cpu",
    )
    detector = AnomalyDetector.load(run_through(tmp_path / "run", config).model_dir, "cpu")
    assert usable_ways(detector.pyramid)[-1] == "flow"
    norms = {name: value.clone() for name, value in detector.pyramid.norms.named_parameters()}
    blur = ("blur", SHIFTS["blur"][1])
    done = adapt(detector, parts(12, 4, shift=blur), way="flow", refuse=False)
    new = parts(20, 5, shift=blur)
    before, after = (np.median([one.score for one in model.predict_many(new)]) for model in (detector, done.detector))
    assert after < max(before, 1)  # a norm by image sees little of the shift: the score is a good part's all the same
    assert rejected(done.detector, new) <= 0.25 and all(done.report.flow)
    # A norm's weights are trained with the flow's, as in every training.
    for name, value in done.detector.pyramid.norms.named_parameters():
        assert not torch.equal(value, norms[name])


def test_the_flow_is_trained_by_the_seed_and_ends_when_it_is_told_to(detector: AnomalyDetector) -> None:
    today, before = parts(10, 4, shift=STRONG), detector.fingerprint()
    one, other = (adapt(detector, today, way="flow", seed=seed).detector for seed in (0, 1))
    assert one.fingerprint() != other.fingerprint()

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(detector, today, way="flow", progress=stop)
    assert detector.fingerprint() == before


def test_a_flow_whose_loss_is_not_finite_is_said(detector: AnomalyDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    nan = torch.tensor([1.0, float("nan"), 1.0])
    monkeypatch.setattr(Alternation, "enqueue", lambda *arguments: nan)
    with pytest.raises(ModelError, match=r"infinite or NaN in epoch 1 of 4.*choose another way than flow"):
        adapt(detector, parts(8, 4), way="flow")


def test_few_images_and_images_of_other_things_are_refused(detector: AnomalyDetector) -> None:
    with pytest.raises(DataError, match="7 images are too few"):
        adapt(detector, parts(7, 4))
    with pytest.raises(UnlikeGoodPartsError, match=r"3 of 24 images are far more anomalous.*today|good-"):
        adapt(detector, [*parts(21, 4), *parts(3, 6, blot=True)])
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = 200
    other = [Image.fromarray(half + np.uint8(shade)) for shade in range(9)]
    with pytest.raises(UnlikeGoodPartsError, match="differ from the training images"):
        adapt(detector, other)
    assert adapt(detector, other, refuse=False).report.notes


def test_a_norm_without_moments_leaves_base_and_flow(trained_run: Run) -> None:
    detector = AnomalyDetector.load(trained_run.model_dir, "cpu")
    assert usable_ways(detector.pyramid) == ("base", "flow")
    for way in ("norm-full", "norm-full+base"):
        with pytest.raises(ConfigError, match=f"has no way {re.escape(way)}: its feature norm .*one of base, flow"):
            adapt(detector, parts(8, 1), way=way)
    with pytest.raises(ConfigError, match=r"There is no way 'flows'\. Choose one of base, flow"):
        adapt(detector, parts(8, 1), way="flows")
    assert adapt(detector, parts(8, 1), refuse=False).report.way == "base"
