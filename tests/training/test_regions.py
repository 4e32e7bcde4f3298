"""Regions in the training: norm, flow and base never see what lies outside, and the saved model says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from altub.backbones import create_backbone
from altub.inference.detector import AnomalyDetector
from altub.inference.regions import Region
from altub.line.adapt import adapt
from altub.runs.run import Run
from altub.training.config import TrainingConfig
from altub.training.loop import train
from tests.conftest import SIDE
from tests.training.runs import assert_same_weights, run_through, stop_after, variant, weights

LEFT = Region(kind="inspect", points=[(0, 0), (0.25, 0), (0.25, 1), (0, 1)])
POSITION = {"steps": 2, "hidden_ratio": 0.5, "norm": "position"}


@pytest.fixture(scope="module")
def limited(small_config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_through(tmp_path_factory.mktemp("limited") / "r", variant(small_config, regions=(LEFT,), flow=POSITION))


@pytest.fixture(scope="module")
def images(limited: Run) -> list[Image.Image]:
    found = sorted((Path(limited.config.data) / "weave/train/good").iterdir())
    return [Image.open(path).convert("RGB") for path in found]


def spoiled(image: Image.Image) -> Image.Image:
    """Noise everywhere outside, up to the limit."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, 3 * SIDE // 4, 3), dtype=np.uint8)
    changed = image.copy()
    changed.paste(Image.fromarray(noise), (SIDE // 4, 0))
    return changed


def test_the_saved_model_sees_what_is_inside_alone(limited: Run, images: list[Image.Image]) -> None:
    detector = AnomalyDetector.load(limited.model_dir, "cpu")
    assert detector.config.hides_outside
    assert [int(inside.sum()) for inside in detector.pyramid.inside] == [16 * 4, 8 * 2, 4]
    clean, changed = (detector.predict(image) for image in (images[0], spoiled(images[0])))
    assert changed.score == clean.score and np.array_equal(changed.anomaly_map, clean.anomaly_map)
    assert detector.comparability.regions == (LEFT,) and changed.reasons == clean.reasons == ()
    red = Image.new("RGB", (SIDE, SIDE), (255, 0, 0))
    red.paste(images[0].crop((0, 0, SIDE // 4, SIDE)), (0, 0))
    assert detector.predict(red).reasons == ()
    assert detector.predict(Image.new("RGB", (SIDE, SIDE), (255, 0, 0))).reasons
    blot = images[0].copy()
    blot.paste((250, 240, 120), (2, 20, 12, 34))
    assert detector.predict(blot).score > clean.score


def test_what_lies_outside_leaves_no_trace_in_the_weights(limited: Run, tmp_path: Path) -> None:
    folder = tmp_path / "data/weave"
    for source in sorted((Path(limited.config.data) / "weave").rglob("*.png")):
        target = folder / source.relative_to(Path(limited.config.data) / "weave")
        target.parent.mkdir(parents=True, exist_ok=True)
        image = Image.open(source)
        (spoiled(image) if image.mode == "RGB" else image).save(target)
    run = run_through(tmp_path / "r", variant(limited.config, data=str(tmp_path / "data")))
    kept, found = weights(limited), weights(run)
    for name in kept:
        assert torch.equal(found[name], kept[name]), name
    whole = weights(run_through(tmp_path / "w", variant(run.config, regions=())))
    heads = [name for name in kept if "heads" in name and kept[name].is_floating_point()]
    assert any(not torch.allclose(whole[name], kept[name], rtol=1e-3, atol=1e-4) for name in heads)


def test_stopped_and_resumed_is_undisturbed(limited: Run, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", limited.config)
    for _ in train(run, should_stop=stop_after(9)):
        pass
    assert run.status.state == "stopped"
    for _ in train(run):
        pass
    assert_same_weights(run, limited)


@pytest.mark.parametrize(
    "settings",
    [
        {"cross_folds": 2},
        {"base": {"base_update": "moments"}},
        {"flow": {"kind": "cflow", "steps": 2, "hidden_ratio": 0.5, "norm": "whiten"}},
        {"flow": {"steps": 2, "hidden_ratio": 0.5, "norm": "layer-affine"}},
    ],
    ids=str,
)
def test_every_kind_of_training_heeds_them(
    small_config: TrainingConfig, images: list[Image.Image], tmp_path: Path, settings: dict
) -> None:
    run = run_through(tmp_path / "r", variant(small_config, epochs=2, regions=(LEFT,), **settings))
    detector = AnomalyDetector.load(run.model_dir, "cpu")
    clean, changed = (detector.predict(image).score for image in (images[0], spoiled(images[0])))
    assert detector.config.hides_outside and changed == clean and np.isfinite(clean)


def test_an_adapted_model_heeds_them(limited: Run, images: list[Image.Image]) -> None:
    detector = AnomalyDetector.load(limited.model_dir, "cpu")
    for way in ("base", "norm-full", "flow"):
        clean = adapt(detector, images, way=way, refuse=False).detector
        found = adapt(detector, [spoiled(image) for image in images], way=way, refuse=False).detector
        assert found.predict(images[0]).score == clean.predict(images[0]).score


def test_a_model_of_an_earlier_version_stays_what_it_was(limited: Run, images: list[Image.Image]) -> None:
    detector = AnomalyDetector.load(limited.model_dir, "cpu")
    values = detector.config.model_dump(mode="json")
    del values["hides_outside"]
    earlier = type(detector.config).model_validate_json(json.dumps(values))
    assert not earlier.hides_outside
    detector.pyramid.limit_to([None] * len(earlier.shapes))
    before = AnomalyDetector(earlier, create_backbone("filter-bank"), detector.pyramid, detector.calibration)
    assert before.pyramid.inside == [None] * len(earlier.shapes)
    changed, clean = (before.predict(image).model_map for image in (spoiled(images[0]), images[0]))
    assert not np.allclose(changed[:, : SIDE // 4], clean[:, : SIDE // 4], rtol=1e-3)


@pytest.mark.parametrize("settings", [{"augment": ("hflip",)}, {"aspect": "keep"}, {"tile": 32, "overlap": 8}], ids=str)
def test_where_a_position_is_no_place_of_the_image_the_run_says_so(
    small_config: TrainingConfig, tmp_path: Path, settings: dict
) -> None:
    run = run_through(tmp_path / "r", variant(small_config, epochs=1, regions=(LEFT,), **settings))
    assert any("The flow learns from whole images" in note for note in run.status.notes)
    assert not AnomalyDetector.load(run.model_dir, "cpu").config.hides_outside
