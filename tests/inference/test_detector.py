"""The detector: predictions that survive saving, and models that are refused in words."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from altub.backbones.backbone import create_backbone
from altub.data import read_image
from altub.errors import ConfigError, DiskFullError, ImageError, ModelError, WeightsError
from altub.flows import FlowPyramid
from altub.inference.calibration import Calibration
from altub.inference.detector import (
    CONFIG_FILE,
    FORMAT_VERSION,
    WEIGHTS_FILE,
    AnomalyDetector,
    DetectorConfig,
    Prediction,
)
from altub.inference.model_files import NEXT_WEIGHTS_FILE, read_model, write_model
from altub.runs.run import Run
from altub.training.config import FlowConfig, TrainingConfig, make_config
from tests.conftest import REPOSITORY, SIDE

NORMS = get_args(FlowConfig.model_fields["norm"].annotation)


@pytest.fixture(scope="module")
def detector(trained_run: Run) -> AnomalyDetector:
    return AnomalyDetector.load(trained_run.model_dir, "cpu")


@pytest.fixture(scope="module")
def pictures(data_folder: Path) -> list[Path]:
    return sorted((data_folder / "weave/test").rglob("*.png"))


@pytest.fixture
def model_dir(trained_run: Run, tmp_path: Path) -> Path:
    """A copy of the trained model, to be damaged."""
    return Path(shutil.copytree(trained_run.model_dir, tmp_path / "model"))


def assert_same(a: Prediction, b: Prediction) -> None:
    assert np.array_equal(a.anomaly_map, b.anomaly_map) and np.array_equal(a.scale_maps, b.scale_maps)
    assert (a.score, a.p_value, a.threshold, a.is_anomalous) == (b.score, b.p_value, b.threshold, b.is_anomalous)


def edit_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    change(config)
    (folder / CONFIG_FILE).write_text(json.dumps(config))


def replace_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """With a hash that fits, as somebody would who means harm."""
    tensors = safetensors.torch.load_file(folder / WEIGHTS_FILE)
    change(tensors)
    content = safetensors.torch.save(tensors)
    (folder / WEIGHTS_FILE).write_bytes(content)
    edit_config(folder, lambda config: config.update(weights_sha256=hashlib.sha256(content).hexdigest()))


# Predictions.


def test_save_and_load_predict_bit_for_bit_the_same(
    detector: AnomalyDetector, pictures: list[Path], tmp_path: Path
) -> None:
    again = AnomalyDetector.load(detector.save(tmp_path / "deep" / "model"), "cpu")
    assert again.config == detector.config and again.calibration == detector.calibration and again.info == detector.info
    for a, b in zip(detector.predict_many(pictures), again.predict_many(pictures), strict=True):
        assert_same(a, b)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        once = (tmp_path / "deep/model" / name).read_bytes()
        again.save(tmp_path / "model")
        assert (tmp_path / "model" / name).read_bytes() == once


def test_loaded_detector_predicts_what_training_measured(trained_run: Run, data_folder: Path) -> None:
    from altub.data import load_category
    from altub.evaluation.evaluate import evaluate_detector

    metrics = evaluate_detector(
        AnomalyDetector.load(trained_run.model_dir, "cpu"), load_category(data_folder, "weave")
    ).as_dict()
    assert metrics == pytest.approx({k: v for k, v in trained_run.last_and_best()[0].items() if k != "epoch"}, abs=1e-6)


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
    assert prediction.anomaly_map.shape == prediction.mask.shape == shape
    assert prediction.anomaly_map.dtype == np.float32 and prediction.mask.dtype == bool
    assert prediction.scale_maps.shape == (3, SIDE, SIDE)
    assert np.isfinite(prediction.anomaly_map).all() and math.isfinite(prediction.score)
    assert isinstance(prediction.score, float) and isinstance(prediction.is_anomalous, bool)
    image.save(tmp_path / "image.tiff")
    assert_same(detector.predict(tmp_path / "image.tiff"), prediction)
    assert_same(detector.predict((tmp_path / "image.tiff").read_bytes()), prediction)


def test_an_array_is_an_image(detector: AnomalyDetector, pictures: list[Path]) -> None:
    assert_same(detector.predict(np.asarray(Image.open(pictures[0]))), detector.predict(str(pictures[0])))


def test_the_map_at_the_model_s_size_is_the_smoothed_mean_of_its_scales(
    detector: AnomalyDetector, pictures: list[Path]
) -> None:
    prediction = detector.predict(pictures[0])
    sigma = detector.config.smoothing
    assert sigma == TrainingConfig.model_fields["smoothing"].default > 0
    # SciPy's kernel reaches as far as ours, three standard deviations, and its mirror does not repeat the edge either.
    smoothed = gaussian_filter(prediction.scale_maps.mean(0), sigma, mode="mirror", truncate=3)
    np.testing.assert_allclose(prediction.anomaly_map, smoothed, atol=1e-5)
    highest = np.sort(prediction.scale_maps.mean(0).ravel())[::-1]
    share = detector.config.score_share
    assert prediction.score == pytest.approx(highest[: round(share * highest.size)].mean(), abs=1e-6)
    assert untrained().score(torch.from_numpy(prediction.scale_maps)) == pytest.approx(highest[0]), "no share: the max"


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
    scores = detector.calibration.scores
    for prediction in detector.predict_many(pictures, false_alarm_rate=rate):
        assert prediction.threshold == detector.calibration.threshold(rate).value
        assert prediction.is_anomalous == (prediction.score > prediction.threshold) == (prediction.p_value <= rate)
        assert prediction.p_value == (1 + np.count_nonzero(scores >= prediction.score)) / (len(scores) + 1)
        line = detector.calibration.threshold(rate).pixel_value
        assert prediction.pixel_threshold == line
        np.testing.assert_array_equal(prediction.mask, prediction.anomaly_map > line)


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


def test_a_higher_false_alarm_rate_lowers_the_threshold(detector: AnomalyDetector, pictures: list[Path]) -> None:
    thresholds = [detector.predict(pictures[0], false_alarm_rate=rate).threshold for rate in (0.2, 0.4, 0.6, 0.8)]
    assert thresholds == sorted(thresholds, reverse=True) and len(set(thresholds)) > 1


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_a_rate_that_is_none_is_refused(detector: AnomalyDetector, pictures: list[Path], rate: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        detector.predict(pictures[0], false_alarm_rate=rate)


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


def untrained(norm: str = "layer", smoothing: float = 0.0) -> AnomalyDetector:
    torch.manual_seed(0)
    backbone = create_backbone("filter-bank", image_size=SIDE)
    flow = make_config(category="any", flow={"steps": 2, "hidden_ratio": 0.5, "norm": norm}).flow
    shapes = tuple((c, SIDE // s, SIDE // s) for c, s in zip(backbone.channels, backbone.strides, strict=True))
    config = DetectorConfig(
        backbone="filter-bank",
        stages=backbone.stages,
        backbone_sha256=backbone.weights.sha256,
        image_size=SIDE,
        shapes=shapes,
        flow=flow,
        map_kind="likelihood",
        smoothing=smoothing,
    )
    return AnomalyDetector(config, backbone, FlowPyramid(flow, shapes)).eval()


def calibrated(detector: AnomalyDetector, images: list[Image.Image]) -> AnomalyDetector:
    from altub.inference.calibration import Calibration

    maps = detector.raw_maps(images)[0]
    detector.calibration = Calibration.fit(maps.amax((1, 2)).numpy(), maps.numpy())
    return detector


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


# What a saved model holds.


def test_nothing_is_pickled(
    trained_run: Run, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was asked for")

    for module, name in (
        *((pickle, name) for name in ("dump", "dumps", "load", "loads", "Unpickler")),
        (torch, "load"),
        (torch, "save"),
    ):
        monkeypatch.setattr(module, name, refuse)
    loaded = AnomalyDetector.load(trained_run.model_dir, "cpu")
    loaded.save(tmp_path)
    assert AnomalyDetector.load(tmp_path, "cpu").predict(pictures[0]).score == loaded.predict(pictures[0]).score
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", CONFIG_FILE, WEIGHTS_FILE]


def test_a_saved_model_names_no_folder_of_the_machine(trained_run: Run, data_folder: Path) -> None:
    for path in trained_run.model_dir.iterdir():
        content = path.read_bytes()
        for private in (data_folder, trained_run.path, REPOSITORY):
            assert str(private).encode() not in content, f"{path.name} holds {private}"
    config = json.loads((trained_run.model_dir / CONFIG_FILE).read_text())
    assert "data" not in config["info"]["training"] and config["info"]["training"]["epochs"] == 4
    assert config["info"]["category"] == "weave" and config["format_version"] == FORMAT_VERSION
    assert config["backbone"]["weights"]["sha256"] == config["detector"]["backbone_sha256"]


def test_the_card_tells_what_it_is(trained_run: Run) -> None:
    card = (trained_run.model_dir / "README.md").read_text()
    last = trained_run.last_and_best()[0]
    assert card.startswith("---\n") and "weave" in card and "filter-bank" in card
    assert f"| pixel_auroc | {last['pixel_auroc']:.4f} |" in card


def test_the_weights_are_those_of_the_flow_and_not_of_the_backbone(trained_run: Run) -> None:
    names = safetensors.torch.load_file(trained_run.model_dir / WEIGHTS_FILE).keys()
    assert {name.split(".")[0] for name in names} == {"pyramid", "calibration"}


# Damaged, foreign and hostile models.


def test_a_folder_without_a_model_is_said(tmp_path: Path, trained_run: Run) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path, tmp_path / "none", tmp_path / "file", trained_run.model_dir / CONFIG_FILE):
        with pytest.raises(ModelError, match=r"no model in .*config\.json is missing"):
            AnomalyDetector.load(folder)
    with pytest.raises(ModelError, match="A model is a run's `model` folder"):
        AnomalyDetector.load(trained_run.path)


def test_missing_weights_are_said(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("altub.inference.model_files.READ_ATTEMPTS", 1)
    (model_dir / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        AnomalyDetector.load(model_dir)


def test_changed_or_cut_off_weights_are_noticed(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("altub.inference.model_files.READ_ATTEMPTS", 1)
    whole = (model_dir / WEIGHTS_FILE).read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    for content in (bytes(flipped), whole[:-1], whole[: len(whole) // 2], whole[:5], b"", whole + b"\0"):
        (model_dir / WEIGHTS_FILE).write_bytes(content)
        with pytest.raises(ModelError, match="damaged"):
            AnomalyDetector.load(model_dir)


@pytest.mark.parametrize("content", [b"no safetensors", b"", b"\xff" * 64])
def test_weights_that_are_none_are_refused(model_dir: Path, content: bytes) -> None:
    (model_dir / WEIGHTS_FILE).write_bytes(content)
    edit_config(model_dir, lambda config: config.update(weights_sha256=hashlib.sha256(content).hexdigest()))
    with pytest.raises(ModelError, match="damaged"):
        AnomalyDetector.load(model_dir)


def test_a_pickle_in_place_of_the_weights_is_never_run(model_dir: Path, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harmed",))

    content = pickle.dumps(Harm())
    (model_dir / WEIGHTS_FILE).write_bytes(content)
    edit_config(model_dir, lambda config: config.update(weights_sha256=hashlib.sha256(content).hexdigest()))
    with pytest.raises(ModelError):
        AnomalyDetector.load(model_dir)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("name", ["/etc/passwd", "../../model", "./x.pkl", "hf-hub:somebody/something", ""])
def test_a_backbone_that_is_a_path_is_never_looked_for(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALTUB_WEIGHTS", str(tmp_path))
    (tmp_path / "x.pkl.safetensors").write_bytes(pickle.dumps("x"))
    edit_config(model_dir, lambda config: config["detector"].update(backbone=name))
    with pytest.raises(ModelError, match="There is no backbone"):
        AnomalyDetector.load(model_dir)


def test_another_backbone_than_trained_on_is_refused(model_dir: Path) -> None:
    edit_config(model_dir, lambda config: config["detector"].update(backbone_sha256="0" * 64))
    with pytest.raises(WeightsError, match="its scores would mean nothing"):
        AnomalyDetector.load(model_dir)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.update(format_version=FORMAT_VERSION + 1), "update AltUB"),
        (lambda c: c.update(format_version="1"), "no format_version"),
        (lambda c: c.pop("format_version"), "no format_version"),
        (lambda c: c.update(format="anomalib"), "does not describe an AltUB model"),
        (lambda c: c.pop("weights_sha256"), "damaged"),
        (lambda c: c.pop("detector"), "detector is missing"),
        (lambda c: c.update(detector=[]), "damaged"),
        (lambda c: c["detector"].pop("stages"), "stages"),
        (lambda c: c["detector"].update(pickle="evil.pkl"), "pickle"),
        (lambda c: c["detector"].update(shapes=[[10**9, 16, 16]] * 3), "features are not those of filter-bank"),
        (lambda c: c["detector"]["shapes"][0].__setitem__(1, 10**6), "features are not those of filter-bank"),
        (lambda c: c["detector"].update(stages=[1, 2]), "features are not those of filter-bank"),
        (lambda c: c["detector"].update(stages=[7]), "has the stages 1 to 3"),
        (lambda c: c["detector"]["flow"].update(steps=3), "do not fit"),
        (lambda c: c["detector"]["flow"].update(hidden_ratio=4), "do not fit"),
        (lambda c: c.pop("calibration"), "calibration is missing"),
        (lambda c: c.update(calibration=[1]), "damaged"),
        (lambda c: c.update(calibration={"colour_low": 0}), "calibration"),
        (lambda c: c["calibration"].update(colour_low="low"), "calibration"),
        (lambda c: c.update(info="words"), "damaged"),
    ],
)
def test_a_config_that_does_not_fit_is_one_sentence(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, change: Callable, message: str
) -> None:
    monkeypatch.setattr("altub.inference.model_files.READ_ATTEMPTS", 1)
    edit_config(model_dir, change)
    with pytest.raises(ModelError, match=message) as caught:
        AnomalyDetector.load(model_dir)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_config_that_is_no_json_object_is_said(model_dir: Path, content: bytes) -> None:
    (model_dir / CONFIG_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        AnomalyDetector.load(model_dir)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("calibration.scores"),
        lambda tensors: tensors.pop(next(name for name in tensors if name.startswith("pyramid.bases"))),
        lambda tensors: tensors.update({"pyramid.more": torch.zeros(1)}),
        lambda tensors: tensors.update({"calibration.scores": torch.tensor([float("nan")])}),
    ],
)
def test_weights_that_lack_or_add_something_are_refused(model_dir: Path, change: Callable) -> None:
    replace_weights(model_dir, change)
    with pytest.raises(ModelError):
        AnomalyDetector.load(model_dir)


def test_weights_that_are_not_finite_give_no_verdict(model_dir: Path, pictures: list[Path]) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        for name, value in tensors.items():
            if name.startswith("pyramid.bases"):
                value.fill_(float("nan"))

    replace_weights(model_dir, spoil)
    with pytest.raises(ModelError, match="no finite score"):
        AnomalyDetector.load(model_dir, "cpu").predict(pictures[0])


@pytest.mark.parametrize("device", ["tpu", "", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_said(trained_run: Run, device: str) -> None:
    with pytest.raises(ConfigError):
        AnomalyDetector.load(trained_run.model_dir, device)


# Two files, replaced as if they were one.


def test_a_model_can_be_loaded_wherever_a_save_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the writer at each of its steps: what is there is one whole version, and the next save works."""
    from altub import files
    from altub.inference import model_files

    monkeypatch.setattr(model_files, "READ_ATTEMPTS", 1)

    class Killed(BaseException):
        pass

    real_replace, left = files.os.replace, [0]

    def replace(source: object, target: object) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        real_replace(source, target)

    monkeypatch.setattr(files.os, "replace", replace)
    versions = iter(range(1000))

    def save(moves: int) -> int:
        version, left[0] = next(versions), moves
        write_model(tmp_path, {"version": version}, b"weights %d" % version)
        return version

    newest = save(100)
    for first in range(4):
        for second in range(4):
            for moves in (first, second):
                with suppress(Killed):
                    newest = save(moves)
                config, weights = read_model(tmp_path)
                assert weights == b"weights %d" % config["version"] and config["version"] >= newest
                newest = config["version"]
    assert save(100) == read_model(tmp_path)[0]["version"]
    assert not (tmp_path / NEXT_WEIGHTS_FILE).exists()


def test_a_full_disk_keeps_the_model_that_was_there(
    detector: AnomalyDetector, model_dir: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    from altub import files

    expected = AnomalyDetector.load(model_dir, "cpu").predict(pictures[0])
    steps = iter([True, False])
    real_fsync = os.fsync

    def fsync(handle: int) -> None:
        if next(steps):
            return real_fsync(handle)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(DiskFullError):
        untrained().save(model_dir)  # its weights still found room, its config.json did not
    assert_same(AnomalyDetector.load(model_dir, "cpu").predict(pictures[0]), expected)


def test_a_reader_waits_for_a_writer_between_its_two_files(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config read is the old one, the weights are new by then: the second look finds both new."""
    from altub.inference import model_files

    old, new = b"old", b"new"
    write_model(model_dir, {"version": 1}, old)
    real_read, looks = model_files._read_config, []

    def read_config(folder: Path) -> dict:
        config = real_read(folder)
        if not looks:
            write_model(model_dir, {"version": 2}, new)
        looks.append(config["version"])
        return config

    monkeypatch.setattr(model_files, "_read_config", read_config)
    config, weights = read_model(model_dir)
    assert (config["version"], weights, looks) == (2, new, [1, 2])


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
        assert_same(a, b)
    assert str(shared_folder).encode() not in (run.model_dir / CONFIG_FILE).read_bytes()
    assert run.events()[1]["loss"] < run.events()[0]["loss"]
    monkeypatch.setenv("ALTUB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("altub.backbones.weights.find_in_cache", lambda file: None)
    with pytest.raises(WeightsError, match="No pretrained weights"):
        AnomalyDetector.load(run.model_dir, "cpu")
