"""The detector: its predictions."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from altub.backbones import create_backbone
from altub.data import load_category, read_image
from altub.errors import ConfigError, ImageError, ModelError, WeightsError
from altub.inference.calibration import Calibration
from altub.inference.detector import AnomalyDetector
from altub.inference.model_files import (
    CONFIG_FILE,
    WEIGHTS_FILE,
)
from altub.runs.run import Run
from altub.training.config import FlowConfig, TrainingConfig, make_config
from tests.conftest import SIDE
from tests.inference.detectors import assert_same, calibrated, untrained

NORMS = get_args(FlowConfig.model_fields["norm"].annotation)


def test_save_and_load_predict_bit_for_bit_the_same(
    detector: AnomalyDetector, pictures: list[Path], tmp_path: Path
) -> None:
    again = AnomalyDetector.load(detector.save(tmp_path / "deep" / "model"), "cpu")
    assert again.config == detector.config and again.calibration == detector.calibration and again.info == detector.info
    for a, b in zip(detector.predict_many(pictures), again.predict_many(pictures), strict=True):
        assert_same(a, b, detector.threshold)
    assert again.threshold == detector.threshold
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        once = (tmp_path / "deep/model" / name).read_bytes()
        again.save(tmp_path / "model")
        assert (tmp_path / "model" / name).read_bytes() == once


def test_loaded_detector_predicts_what_training_measured(trained_run: Run, data_folder: Path) -> None:
    from altub.evaluation.evaluate import evaluate_detector

    metrics = evaluate_detector(
        AnomalyDetector.load(trained_run.model_dir, "cpu"), load_category(data_folder, "weave")
    ).as_dict()
    assert metrics == pytest.approx(trained_run.last_and_best()[0].test.as_dict(), abs=1e-6)


def converted(kind: str) -> tuple[Image.Image, tuple[int, int]]:
    """A picture of this kind and its (height, width)."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (75, 131, 3)).astype(np.uint8)
    grey16 = rng.integers(0, 65536, (40, 33)).astype(np.uint16)
    return {
        "wide": lambda: (Image.fromarray(colours), (75, 131)),
        "tall and odd": lambda: (Image.fromarray(colours).resize((33, 201)), (201, 33)),
        "tiny": lambda: (Image.fromarray(colours).resize((3, 5)), (5, 3)),
        "one pixel": lambda: (Image.new("RGB", (1, 1), "red"), (1, 1)),
        "grey": lambda: (Image.fromarray(colours[..., 0]), (75, 131)),
        "16 bit": lambda: (Image.fromarray(grey16), (40, 33)),
        "RGBA": lambda: (Image.fromarray(colours).convert("RGBA"), (75, 131)),
        "palette": lambda: (Image.fromarray(colours).convert("P"), (75, 131)),
        "CMYK": lambda: (Image.fromarray(colours).convert("CMYK"), (75, 131)),
        "black and white": lambda: (Image.fromarray(colours).convert("1"), (75, 131)),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    ["wide", "tall and odd", "tiny", "one pixel", "grey", "16 bit", "RGBA", "palette", "CMYK", "black and white"],
)
def test_the_map_has_the_image_s_own_size(detector: AnomalyDetector, kind: str, tmp_path: Path) -> None:
    image, shape = converted(kind)
    prediction = detector.predict(image)
    verdict = prediction.at(detector.threshold)
    assert prediction.anomaly_map.shape == verdict.mask.shape == shape
    assert prediction.anomaly_map.dtype == np.float32 and verdict.mask.dtype == bool
    assert prediction.scale_maps.shape == (3, SIDE, SIDE)
    assert np.isfinite(prediction.anomaly_map).all() and math.isfinite(prediction.score)
    assert isinstance(prediction.score, float) and isinstance(verdict.is_anomalous, bool)
    image.save(tmp_path / "image.tiff")
    assert_same(detector.predict(tmp_path / "image.tiff"), prediction, detector.threshold)
    assert_same(detector.predict((tmp_path / "image.tiff").read_bytes()), prediction, detector.threshold)


def test_an_array_is_an_image(detector: AnomalyDetector, pictures: list[Path]) -> None:
    array, path = np.asarray(Image.open(pictures[0])), str(pictures[0])
    assert_same(detector.predict(array), detector.predict(path), detector.threshold)


def test_the_map_is_the_log_of_the_smoothed_mean_likelihood_of_its_scales(
    detector: AnomalyDetector, pictures: list[Path]
) -> None:
    prediction = detector.predict(pictures[0])
    sigma, energies = detector.config.smoothing, prediction.scale_maps.astype(np.float64)
    assert sigma == TrainingConfig.model_fields["smoothing"].default > 0
    # SciPy's kernel reaches as far as ours, three standard deviations, and its mirror does not repeat the edge either.
    smoothed = gaussian_filter(np.exp(-energies).mean(0), sigma, mode="mirror", truncate=3)
    np.testing.assert_allclose(prediction.anomaly_map, -np.log(smoothed), atol=1e-4)


def test_the_score_is_of_the_scales_in_units_of_their_range_on_held_out_images(
    detector: AnomalyDetector, pictures: list[Path]
) -> None:
    prediction = detector.predict(pictures[0])
    low, high = detector.pyramid.energy_range.numpy().T[:, :, None, None]
    assert (low > 0).all() and (high > low).all()
    ranges = ((prediction.scale_maps - low) / (high - low)).mean(0)
    highest = np.sort(np.log1p(ranges.clip(0)).ravel())[::-1]
    share = detector.config.score_share
    assert prediction.score == pytest.approx(highest[: round(share * highest.size)].mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "joined"),
    [("likelihood", lambda maps: maps.mean(0)), ("nll", lambda maps: maps.mean(0)), ("mixture", None)],
)
def test_a_score_of_the_map_is_its_highest_share_before_smoothing(kind: str, joined, pictures: list[Path]) -> None:
    detector = untrained(map_kind=kind, score_kind="map", score_share=0.02)
    (_, scales) = detector.raw_maps([read_image(pictures[0])])
    maps = scales[0].numpy().astype(np.float64)
    values = -np.log(np.exp(-maps).mean(0)) if joined is None else joined(maps)
    highest = np.sort(values.ravel())[::-1]
    assert detector.score(scales[0]) == pytest.approx(highest[: round(0.02 * highest.size)].mean(), rel=1e-5)


def test_positions_without_any_likelihood_keep_finite_values(pictures: list[Path]) -> None:
    """Whatever an image shows, map and score are finite numbers."""
    detector = untrained(map_kind="mixture", score_kind="map")
    with torch.no_grad():
        detector.pyramid.bases[0].mean.fill_(1e4)
        detector.pyramid.bases[1].mean.fill_(1e4)
    maps, scales = detector.raw_maps([read_image(pictures[0])])
    assert torch.isfinite(maps).all() and np.isfinite(detector.score(scales[0]))


def test_a_score_does_not_depend_on_its_neighbours(detector: AnomalyDetector, pictures: list[Path]) -> None:
    images = [read_image(path) for path in (pictures * 2)[:16]]
    rng = np.random.default_rng(1)
    images[5] = Image.fromarray(rng.integers(0, 256, (90, 40, 3)).astype(np.uint8))  # a very strange neighbour
    together = list(detector.predict_many(images))
    order = rng.permutation(16)
    shuffled = list(detector.predict_many([images[i] for i in order]))
    whole_batch = detector.image_scores(detector.raw_maps(images)[1])
    for index, image in enumerate(images):
        alone = detector.predict(image)
        for other in (together[index], shuffled[int(np.flatnonzero(order == index)[0])]):
            assert other.score == pytest.approx(alone.score, abs=1e-5) and other.p_value == alone.p_value
            np.testing.assert_allclose(other.anomaly_map, alone.anomaly_map, atol=1e-5)
        assert float(whole_batch[index]) == pytest.approx(alone.score, abs=1e-5)


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.6, 0.999])
def test_verdict_p_value_and_threshold_say_the_same(
    detector: AnomalyDetector, pictures: list[Path], rate: float
) -> None:
    scores, threshold = detector.calibration.scores, detector.calibration.threshold(rate)
    for prediction in detector.predict_many(pictures):
        verdict = prediction.at(threshold)
        assert verdict.threshold == threshold
        assert verdict.is_anomalous == (prediction.score > threshold.value) == (prediction.p_value <= rate)
        assert prediction.p_value == (1 + np.count_nonzero(scores >= prediction.score)) / (len(scores) + 1)
        np.testing.assert_array_equal(verdict.mask, prediction.anomaly_map > threshold.pixel_value)


def test_as_many_held_out_maps_reach_over_the_pixels_line_as_scores_over_the_threshold() -> None:
    scores, peaks = np.array([0.1, 0.4, 0.2, 0.3]), np.array([5.0, 6.0, 8.0, 7.0])
    calibration = Calibration.fit(scores, np.linspace(0, 8, 50), peaks=peaks)
    for rate in (0.25, 0.45, 0.65):
        threshold = calibration.threshold(rate)
        assert (scores > threshold.value).sum() == (peaks > threshold.pixel_value).sum() == round(rate * 5 - 1.25)
    assert Calibration.from_dict(calibration.to_dict()) == calibration
    assert calibration.colour_high == pytest.approx(2 * 8 - 4), "the largest peak lies in the middle of the colours"
    older = {key: value for key, value in calibration.to_dict().items() if key != "peaks"}
    assert Calibration.from_dict(older).threshold(0.25).pixel_value == 0.4, "older models score by the maximum"


def test_a_higher_false_alarm_rate_lowers_the_threshold(detector: AnomalyDetector) -> None:
    thresholds = [detector.calibration.threshold(rate).value for rate in (0.2, 0.4, 0.6, 0.8)]
    assert thresholds == sorted(thresholds, reverse=True) and len(set(thresholds)) > 1


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_a_rate_that_is_none_is_refused(detector: AnomalyDetector, rate: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        detector.calibration.threshold(rate)


@pytest.mark.parametrize("size", [0, -64, 65, 8])
def test_a_size_that_the_backbone_does_not_take_is_refused(
    detector: AnomalyDetector, pictures: list[Path], size: int
) -> None:
    with pytest.raises(ConfigError, match="multiples of 16"):
        detector.predict(pictures[0], image_size=size)


def test_what_is_no_image_is_refused(detector: AnomalyDetector, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    for source in (tmp_path / "a.png", tmp_path / "none.png", b"", np.zeros((2, 2, 2))):
        with pytest.raises(ImageError):
            detector.predict(source)


def test_no_images_are_no_predictions(detector: AnomalyDetector) -> None:
    assert list(detector.predict_many([])) == []


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_takes_other_sizes_than_trained_on(norm: str, pictures: list[Path], tmp_path: Path) -> None:
    model = calibrated(untrained(norm), [read_image(path) for path in pictures[:4]])
    model = AnomalyDetector.load(model.save(tmp_path), "cpu")
    for size in (32, 80, 96):
        prediction = model.predict(pictures[0], image_size=size)
        assert prediction.scale_maps.shape == (3, size, size) and prediction.anomaly_map.shape == (SIDE, SIDE)
        assert np.isfinite(prediction.anomaly_map).all()


def test_smoothing_smooths_and_keeps_the_mean_of_a_flat_map(pictures: list[Path]) -> None:
    image = [read_image(pictures[0])]
    rough, smooth = (untrained(smoothing=sigma).raw_maps(image)[0][0] for sigma in (0.0, 3.0))
    assert smooth.shape == rough.shape and smooth.diff(dim=1).abs().mean() < 0.8 * rough.diff(dim=1).abs().mean()
    assert float(smooth.mean()) == pytest.approx(float(rough.mean()), abs=0.02)
    assert untrained(smoothing=32.0).raw_maps(image, 32)[0].shape == (1, 32, 32), "wider than the map"


def test_without_calibration_there_is_no_verdict(pictures: list[Path], tmp_path: Path) -> None:
    model = AnomalyDetector.load(untrained().save(tmp_path), "cpu")
    assert model.calibration is None
    with pytest.raises(ModelError, match="no calibration"):
        model.predict(pictures[0])
    with pytest.raises(ModelError, match="no calibration"):
        _ = model.threshold


# Maps from elsewhere.


def test_maps_can_come_from_elsewhere(trained_run: Run, detector: AnomalyDetector, pictures: list[Path]) -> None:
    """A map source gets the images and the size, and everything else follows from its maps."""
    asked = []

    def elsewhere(images: Sequence[Image.Image], image_size: int | None) -> tuple[Tensor, Tensor]:
        asked.append((len(images), image_size))
        return detector.compute_maps(images, image_size)

    model = AnomalyDetector.load(trained_run.model_dir, "cpu", map_source=elsewhere)
    model.backbone.forward = None  # not used
    for found, expected in zip(model.predict_many(pictures), detector.predict_many(pictures), strict=True):
        assert_same(found, expected, detector.threshold)
    assert asked == [(8, None)]
    assert model.predict(pictures[0], image_size=96).scale_maps.shape == (3, 96, 96) and asked[1:] == [(1, 96)]
    with pytest.raises(ConfigError, match="multiples of 16"):
        model.predict(pictures[0], image_size=65)


# Real weights.


def test_real_backbone_trains_saves_and_loads(
    shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few pictures of MVTec bottle on resnet18: trained, saved, loaded, and refused without its weights."""
    from altub.training.loop import train

    monkeypatch.setenv("ALTUB_WEIGHTS", str(shared_folder / "weights"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source, bottle = shared_folder / "data/mvtec256/bottle", tmp_path / "data/bottle"
    for folder, count in (("train/good", 10), ("test/good", 2), ("test/broken_large", 2)):
        (bottle / folder).mkdir(parents=True)
        for path in sorted((source / folder).glob("*.png"))[:count]:
            shutil.copy(path, bottle / folder)
    config: TrainingConfig = make_config(
        data=str(tmp_path / "data"),
        category="bottle",
        backbone="resnet18.tv_in1k",
        stages=(1, 2, 3),
        image_size=64,
        epochs=2,
        batch_size=3,
        flow={"steps": 2, "hidden_ratio": 0.25},
        device="cpu",
    )
    run = Run.create(tmp_path / "r", config)
    for _ in train(run):
        pass
    model = AnomalyDetector.load(run.model_dir, "cpu")
    assert [shape[0] for shape in model.config.shapes] == [64, 128, 256] and model.backbone.weights.source == "file"
    pictures = sorted((bottle / "test").rglob("*.png"))
    predictions = list(model.predict_many(pictures))
    assert all(prediction.anomaly_map.shape == (256, 256) for prediction in predictions)
    for a, b in zip(
        AnomalyDetector.load(model.save(tmp_path / "again"), "cpu").predict_many(pictures), predictions, strict=True
    ):
        assert_same(a, b, model.threshold)
    assert str(shared_folder).encode() not in (run.model_dir / CONFIG_FILE).read_bytes()
    assert run.events()[1].loss < run.events()[0].loss
    monkeypatch.setenv("ALTUB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("altub.backbones.weights.find_in_cache", lambda file: None)
    with pytest.raises(WeightsError, match="No pretrained weights"):
        AnomalyDetector.load(run.model_dir, "cpu")


@pytest.mark.parametrize("name", ["resnet18.tv_in1k", "mobilenetv2_100", "filter-bank"])
def test_optimised_for_scoring_the_maps_stay(name: str) -> None:
    torch.manual_seed(0)
    detector = untrained(backbone=create_backbone(name, pretrained=False, image_size=SIDE), map_kind="nll")
    images = [
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3), np.uint8)) for seed in (0, 1)
    ]
    before = detector.compute_maps(images)
    assert detector.optimise() is detector
    for ours, wanted in zip(detector.compute_maps(images), before, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)


def test_a_model_loaded_for_scoring_gives_the_same_scores_whatever_is_in_the_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = create_backbone("resnet18.tv_in1k", pretrained=False, image_size=SIDE)
    images = [
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3), np.uint8)) for seed in range(5)
    ]
    folder = calibrated(untrained(backbone=backbone), images).save(tmp_path / "model")
    plain = AnomalyDetector.load(folder, "cpu", backbone=backbone)
    quick = AnomalyDetector.load(folder, "cpu", backbone=copy.deepcopy(backbone), for_scoring=True)
    assert any(isinstance(module, nn.BatchNorm2d) for module in plain.backbone.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.backbone.modules())
    together = list(quick.predict_many(images))
    for prediction, wanted in zip(together, plain.predict_many(images), strict=True):
        assert prediction.score == pytest.approx(wanted.score, rel=1e-5)
    for image, prediction in zip(images, together, strict=True):
        assert quick.predict(image).score == pytest.approx(prediction.score, rel=1e-6)
    elsewhere = AnomalyDetector.load(
        folder, "cpu", backbone=backbone, for_scoring=True, map_source=lambda images, size: plain.compute_maps(images)
    )
    assert any(isinstance(module, nn.BatchNorm2d) for module in elsewhere.backbone.modules()), "it computes no maps"
