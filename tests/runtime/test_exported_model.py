"""An exported model predicts what the detector does, and needs no torch for it."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.backbones import create_backbone
from altub.cli.app import app
from altub.errors import ConfigError, ImageError, ModelError
from altub.inference.calibration import Calibration
from altub.inference.detector import AnomalyDetector
from altub.inference.onnx_export import TOLERANCE, _Comparison, export_onnx
from altub.inference.onnx_graph import onnx_graph
from altub.inference.regions import Region
from altub.inference.threshold import Threshold
from altub.runs.run import Run
from altub.runtime import OnnxDetector
from tests.conftest import SIDE
from tests.inference.detectors import calibrated, untrained
from tests.runtime.torchless import run_without_torch

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def exported(trained_run: Run, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `trained_run`, by the command."""
    from typer.testing import CliRunner

    file = tmp_path_factory.mktemp("onnx") / "deep" / "weave.onnx"
    data = ("--data", str(data_folder), "--category", "weave")
    ended = CliRunner().invoke(app, ["export", "--model", str(trained_run.model_dir), "--onnx", str(file), *data])
    assert ended.exit_code == 0, ended.output
    assert "calibrated on the held-out images with onnxruntime" in ended.output
    return file


@pytest.fixture(scope="module")
def detector(trained_run: Run) -> AnomalyDetector:
    return AnomalyDetector.load(trained_run.model_dir, "cpu")


def test_it_predicts_what_the_detector_does(exported: Path, detector: AnomalyDetector, data_folder: Path) -> None:
    runtime = OnnxDetector.load(exported, threads=1)
    files = sorted((data_folder / "weave/test").rglob("*.png"))
    large = np.asarray(Image.open(files[0]).resize((150, 100)))  # another size and shape than the model's
    images = [*files, large]
    for ours, theirs in zip(runtime.predict_many(images), detector.predict_many(images), strict=True):
        assert ours.anomaly_map.shape == theirs.anomaly_map.shape
        np.testing.assert_allclose(ours.anomaly_map, theirs.anomaly_map, rtol=TOLERANCE, atol=TOLERANCE)
        assert ours.score == pytest.approx(theirs.score, rel=TOLERANCE, abs=TOLERANCE)
        assert ours.anomaly_score == pytest.approx(theirs.anomaly_score, rel=TOLERANCE, abs=10 * TOLERANCE)
        assert ours.p_value == theirs.p_value and ours.reasons == theirs.reasons
        assert ours.at(runtime.threshold).kind == theirs.at(detector.threshold).kind
    assert runtime.predict(files[0]).score == pytest.approx(detector.predict(files[0]).score, rel=TOLERANCE)


def test_its_thresholds_are_those_of_its_own_scores(
    exported: Path, detector: AnomalyDetector, trained_run: Run
) -> None:
    runtime = OnnxDetector.load(exported, threads=1)
    record = runtime.record
    assert record.calibrated_with == "onnxruntime" and record.category == "weave"
    held_out = detector.require_calibration().scores
    assert runtime.calibration.scores.shape == held_out.shape
    np.testing.assert_allclose(runtime.calibration.scores, held_out, rtol=TOLERANCE, atol=TOLERANCE)
    assert record.model == json.loads((trained_run.model_dir / "config.json").read_text())["weights_sha256"]
    assert record.compared["images"] == len(held_out) and record.compared["maps"] < TOLERANCE


def test_labelled_images_stay_in_a_calibration_by_the_runtime() -> None:
    before = Calibration(np.arange(3.0), colour_low=0.0, colour_high=9.0).extended_by(np.array([7.0]), np.array([8.0]))
    found = _Comparison([0.5, 1.5, 2.5], [0.5, 1.5, 2.5]).calibration(before)
    assert found.scores.tolist() == [0.5, 1.5, 2.5, 7.0] and found.peaks.tolist() == [0.5, 1.5, 2.5, 8.0]
    assert found.held_out.scores.size == 3 and found.colour_range == before.colour_range


def test_it_runs_where_there_is_no_torch(exported: Path, data_folder: Path, tmp_path: Path) -> None:
    """A Python that finds only what the runtime may need."""
    images = tmp_path / "images"
    images.mkdir()
    for name in ("good", "blot"):
        Image.open(data_folder / f"weave/test/{name}/000.png").save(images / f"{name}.png")
    (images / "broken.png").write_bytes(b"none")
    arguments = [str(exported), str(images), "--output", str(tmp_path / "s.csv"), "--masks", str(tmp_path / "masks")]
    ended = run_without_torch(tmp_path, arguments)
    assert ended.returncode == 0, ended.stderr
    assert "Skipped: " in ended.stderr
    rows = {Path(row["image"]).stem: row for row in csv.DictReader((tmp_path / "s.csv").open())}
    assert rows["broken"]["error"] and not rows["good"]["error"]
    assert float(rows["blot"]["score"]) > float(rows["good"]["score"])
    assert Image.open(tmp_path / "masks/blot_mask.png").size == (64, 64)


def test_a_broken_image_is_an_error_in_its_place(exported: Path, data_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"none")
    good = data_folder / "weave/test/good/000.png"
    runtime = OnnxDetector.load(exported, threads=1)
    found = list(runtime.predict_many([broken, good, broken]))
    assert [isinstance(entry, ImageError) for entry in found] == [True, False, True]
    with pytest.raises(ImageError):
        runtime.predict(broken)


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no exported model"):
        OnnxDetector.load(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(ModelError, match="damaged: export it again"):
        OnnxDetector.load(tmp_path / "text.onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g", [value], [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="lacks the record of AltUB"):
        OnnxDetector.load(tmp_path / "other.onnx")


@pytest.mark.parametrize("damage", ["{", "[]", '{"format_version": 1}', '{"format_version": 99}'])
def test_a_damaged_record_is_named(exported: Path, tmp_path: Path, damage: str) -> None:
    model = onnx.load(exported)
    next(entry for entry in model.metadata_props if entry.key == "altub").value = damage
    onnx.save(model, tmp_path / "damaged.onnx")
    with pytest.raises(ModelError, match="newer than this version" if "99" in damage else "cannot be read"):
        OnnxDetector.load(tmp_path / "damaged.onnx")


def test_a_provider_that_is_not_there_is_named(exported: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no NoneSuch here\. It has: "):
        OnnxDetector.load(exported, providers=["NoneSuch"])


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The maps and scores that are the default are exported as well; and a wrong graph is noticed."""
    images = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)) for i in range(3)]
    settings = {"map_kind": "mixture", "score_kind": "range", "smoothing": 2.0, "score_share": 0.01}
    ignored = Region(kind="ignore", points=[(0, 0), (0.4, 0), (0.4, 0.3)])
    detector = calibrated(untrained("position", regions=(ignored,), hides_outside=True, **settings), images)
    detector.own_threshold = Threshold.fixed(3.0, 2.0)
    monkeypatch.setattr("altub.inference.onnx_export.onnx_graph", cache(onnx_graph))
    done = export_onnx(detector, tmp_path / "m.onnx")
    assert not done.recalibrated and done.compared == 4 and done.map_difference < TOLERANCE
    runtime = OnnxDetector.load(tmp_path / "m.onnx", threads=1)
    assert runtime.threshold == detector.threshold and runtime.calibration == detector.calibration
    with pytest.raises(ConfigError, match=r"must end in \.onnx"):
        export_onnx(detector, tmp_path / "m.bin")

    detector.pyramid.bases[0].mean.data.add_(1.0)  # the graph of before is now a wrong one
    before = (tmp_path / "m.onnx").read_bytes()
    with pytest.raises(ModelError, match="was not written"):
        export_onnx(detector, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_cflow_is_exported_too(tmp_path: Path) -> None:
    from altub.flows import FlowPyramid
    from altub.training.config import make_config

    detector = untrained(backbone=create_backbone("filter-bank", image_size=SIDE, stages=(3,)))  # a short graph
    flow = make_config(category="any", flow={"kind": "cflow", "steps": 2, "hidden_ratio": 1.0}).flow
    detector.config = detector.config.model_copy(update={"flow": flow, "score_kind": "range"})
    detector.pyramid = FlowPyramid(flow, detector.config.shapes).eval()
    images = [Image.new("RGB", (64, 64), (value, 90, 60)) for value in (50, 100)]
    assert export_onnx(calibrated(detector, images), tmp_path / "m.onnx").score_difference < TOLERANCE
