"""An export in int8: what it says of its loss is what it loses, and its thresholds are those of its own scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from altub.cli.app import app
from altub.data import load_category
from altub.errors import ConfigError, ImageError, ModelError
from altub.evaluation import int8_export
from altub.evaluation.int8_export import Int8Export, export_int8
from altub.evaluation.metrics import image_auroc, pixel_auroc
from altub.inference.detector import AnomalyDetector
from altub.inference.onnx_graph import onnx_graph
from altub.inference.onnx_int8 import BACKBONE, FLOW, convolutions
from altub.inference.threshold import Threshold
from altub.runs.run import Run
from altub.runtime import OnnxDetector
from altub.training.data_record import DataRecord
from tests.conftest import SIDE
from tests.runtime.torchless import run_without_torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", autouse=True)
def graphs() -> Iterator[None]:
    """The model's graph is traced once: that is most of an export's time, and the same for all of these."""
    traced: dict[str, onnx.ModelProto] = {}

    def graph_of(detector: AnomalyDetector) -> onnx.ModelProto:
        name = detector.fingerprint()
        traced[name] = traced.get(name) or onnx_graph(detector)
        graph = onnx.ModelProto()
        graph.CopyFrom(traced[name])
        return graph

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("altub.inference.onnx_export.onnx_graph", graph_of)
        yield


@pytest.fixture(scope="module")
def folder(trained_run: Run, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`float32.onnx` and `int8.onnx` of the model of `trained_run`, by the command, and what it printed."""
    folder = tmp_path_factory.mktemp("int8")
    given = ("export", "--model", str(trained_run.model_dir), "--data", str(data_folder), "--category", "weave")
    for name, more in (("float32", ()), ("int8", ("--int8", "--accept-loss"))):
        ended = CliRunner().invoke(app, [*given, "--onnx", str(folder / f"{name}.onnx"), *more])
        assert ended.exit_code == 0, ended.output
        (folder / f"{name}.txt").write_text(ended.output)
    return folder


@pytest.fixture(scope="module")
def int8(folder: Path) -> OnnxDetector:
    return OnnxDetector.load(folder / "int8.onnx", threads=1)


@pytest.fixture(scope="module")
def images(trained_run: Run, data_folder: Path) -> dict[str, list]:
    """Those of the training by the part they play: sources, and samples to test on."""
    record, category = DataRecord.read(trained_run.data_file, trained_run.id), load_category(str(data_folder), "weave")
    held_out = [sample.source for sample in record.held_out(category.train)]
    trained = [sample.source for sample in category.train if sample.source not in held_out]
    return {"trained": trained, "held_out": held_out, "tested": list(category.test)}


@pytest.fixture(scope="module")
def detector(trained_run: Run) -> AnomalyDetector:
    return AnomalyDetector.load(trained_run.model_dir, "cpu")


def _predict(runtime: OnnxDetector, sources: list) -> tuple[np.ndarray, np.ndarray]:
    """Maps and scores; the images have the model's size, so that maps are as the graph gives them."""
    found = list(runtime.predict_many(sources))
    return np.stack([entry.anomaly_map for entry in found]), np.array([entry.score for entry in found])


def test_its_convolutions_are_integers_and_nothing_else(folder: Path, int8: OnnxDetector) -> None:
    graph = onnx.load(folder / "int8.onnx").graph
    names = convolutions(onnx.load(folder / "float32.onnx"), (FLOW,))
    weights = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    whole = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    readers = {node.name for node in graph.node for name in node.input if whole.get(name) in weights}
    assert readers == set(names) and int8.record.quantised.convolutions == len(names)
    assert all(node.input[0] in whole for node in graph.node if node.name in names)  # activations too
    assert len(names) == 12  # three flows of two steps with two convolutions; the filter bank stays as it is
    assert len(convolutions(onnx.load(folder / "float32.onnx"), (BACKBONE,))) == 3  # not those of single channels


def test_the_loss_in_its_record_is_the_one_of_its_scores(
    folder: Path, int8: OnnxDetector, images: dict[str, list]
) -> None:
    cost, tested = int8.record.quantised, images["tested"]
    defective = np.array([sample.is_defective for sample in tested])
    masks = np.stack([_mask(sample) for sample in tested])
    sources = [sample.source for sample in tested]
    for place, runtime in enumerate((OnnxDetector.load(folder / "float32.onnx", threads=1), int8)):
        maps, scores = _predict(runtime, sources)
        assert cost.image_auroc[place] == pytest.approx(image_auroc(scores, defective), abs=1e-9)
        assert cost.pixel_auroc[place] == pytest.approx(pixel_auroc(maps, masks), abs=1e-6)
    differences = [before - after for before, after in (cost.image_auroc, cost.pixel_auroc)]
    assert cost.loss == max(differences) and cost.tested == len(tested) and cost.speed > 0
    printed = " ".join((folder / "int8.txt").read_text().split())
    for number in (*cost.image_auroc, *cost.pixel_auroc):
        assert f"{number:.4f}" in printed
    assert f"Loss of AUROC: at most {max(cost.loss, 0):.4f}" in printed and f"{cost.speed:.2f} times as fast" in printed


def _mask(sample: object) -> np.ndarray:
    mask = sample.read_mask((SIDE, SIDE))
    return np.zeros((SIDE, SIDE), bool) if mask is None else mask


def test_its_thresholds_are_those_of_its_own_scores(folder: Path, int8: OnnxDetector, images: dict[str, list]) -> None:
    maps, scores = _predict(int8, images["held_out"])
    np.testing.assert_allclose(int8.calibration.scores, np.sort(scores), rtol=1e-5)
    np.testing.assert_allclose(int8.calibration.peaks, np.sort(maps.max((1, 2))), rtol=1e-5)
    float32 = OnnxDetector.load(folder / "float32.onnx", threads=1)
    assert int8.threshold.value != float32.threshold.value and int8.threshold.origin == float32.threshold.origin
    known, cost = _predict(float32, images["held_out"]), int8.record.quantised
    assert cost.rank_correlation == pytest.approx(stats.spearmanr(known[1], scores).statistic)
    assert cost.map_difference == pytest.approx(np.abs(known[0] - maps).mean() / known[0].std(), rel=1e-3)
    assert cost.map_difference > 0 and int8.calibration.colour_range == float32.calibration.colour_range


def test_it_runs_where_there_is_no_torch_and_says_what_it_costs(
    folder: Path, int8: OnnxDetector, data_folder: Path, tmp_path: Path
) -> None:
    image = data_folder / "weave/test/blot/000.png"
    ended = run_without_torch(tmp_path, [str(folder / "int8.onnx"), str(image)])
    assert ended.returncode == 0, ended.stderr
    assert f"Note: {int8.record.quantised}" in ended.stderr
    assert json.loads(ended.stdout)["score"] == pytest.approx(int8.predict(image).score, rel=1e-5)


def _export(detector: AnomalyDetector, file: Path, images: dict[str, list], **more: object) -> Int8Export:
    return export_int8(detector, file, **{**images, **more})


def test_a_large_loss_is_refused_unless_accepted(
    detector: AnomalyDetector, images: dict[str, list], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_export, "MOST_LOST", -2.0)  # whatever it loses is too much
    with pytest.raises(ModelError, match=r"was not written.*image AUROC.*accept the loss \(--accept-loss\)"):
        _export(detector, tmp_path / "m.onnx", images)
    assert not list(tmp_path.iterdir())
    done = _export(detector, tmp_path / "m.onnx", images, accept_loss=True)
    assert done.size == done.file.stat().st_size and done.quantised.loss is not None


def test_what_is_not_finite_is_not_written(
    folder: Path,
    detector: AnomalyDetector,
    images: dict[str, list],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = onnx.load(folder / "int8.onnx")
    (last,) = (node for node in graph.graph.node if "score" in node.output)
    last.output[:] = ["whole" if name == "score" else name for name in last.output]
    for kind, given, made in (("Sub", "whole", "nothing"), ("Div", "nothing", "score")):  # 0 / 0
        graph.graph.node.append(onnx.helper.make_node(kind, [given, given], [made]))
    monkeypatch.setattr(int8_export, "quantised", lambda *_: (graph, ["any"]))
    with pytest.raises(ModelError, match="not finite: export it in float32"):
        _export(detector, tmp_path / "m.onnx", images, accept_loss=True)
    assert not list(tmp_path.iterdir())


def test_without_test_images_the_loss_is_unknown(
    detector: AnomalyDetector, images: dict[str, list], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with good ones only; a threshold of its own has its rate on the new scores, or is left out."""
    monkeypatch.setattr(int8_export, "MOST_LOST", -2.0)
    monkeypatch.setattr(detector, "own_threshold", detector.require_calibration().threshold(0.5))
    steps: list[tuple[int, int]] = []
    good = [sample for sample in images["tested"] if not sample.is_defective]
    done = _export(detector, tmp_path / "m.onnx", images, tested=good, progress=lambda *step: steps.append(step))
    cost = done.quantised
    assert cost.loss is None and cost.image_auroc is None and cost.pixel_auroc is None and cost.tested == len(good)
    assert "loss of AUROC unknown" in str(cost) and f"{cost.map_difference:.2f} standard deviations" in str(cost)
    assert steps[-1][0] == steps[-1][1] and steps == sorted(steps)
    runtime = OnnxDetector.load(tmp_path / "m.onnx", threads=1)
    assert runtime.threshold == runtime.calibration.threshold(0.5) and not done.threshold_left_out

    monkeypatch.setattr(detector, "own_threshold", Threshold.fixed(3.0, 2.0))
    done = _export(detector, tmp_path / "m.onnx", images, tested=())
    runtime = OnnxDetector.load(tmp_path / "m.onnx", threads=1)
    assert done.threshold_left_out and runtime.threshold == runtime.calibration.threshold()


def test_what_cannot_be_done_is_refused(
    detector: AnomalyDetector,
    images: dict[str, list],
    trained_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, given = tmp_path / "m.onnx", ["export", "--model", str(trained_run.model_dir), "--onnx"]
    for more, told in (("--int8", "needs --data and --category"), ("--accept-loss", "--int8 only")):
        ended = CliRunner().invoke(app, [*given, str(file), more])
        assert ended.exit_code != 0 and told in " ".join(str(ended.exception or ended.output).split())
    for part in ("trained", "held_out"):
        with pytest.raises(ConfigError, match="int8 needs images of the training"):
            _export(detector, file, {**images, part: []})
    with pytest.raises(ConfigError, match=r"must end in \.onnx"):
        _export(detector, tmp_path / "m.bin", images)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"none")
    with pytest.raises(ImageError, match="broken"):
        _export(detector, file, images, trained=[broken])
    monkeypatch.setattr(detector, "calibration", replace(detector.require_calibration(), folds=4))
    with pytest.raises(ConfigError, match="cross-calibration"):
        _export(detector, file, images)
    assert not file.exists()


def test_a_damaged_cost_is_named(folder: Path, tmp_path: Path) -> None:
    graph = onnx.load(folder / "int8.onnx")
    entry = next(entry for entry in graph.metadata_props if entry.key == "altub")
    values = json.loads(entry.value)
    for damage in ({"image_auroc": 1}, [], {**values["quantised"], "pixel_auroc": ["a", "b"]}):
        entry.value = json.dumps({**values, "quantised": damage})
        onnx.save(graph, tmp_path / "m.onnx")
        with pytest.raises(ModelError, match="record cannot be read"):
            OnnxDetector.load(tmp_path / "m.onnx")
    del values["quantised"]  # as an earlier version wrote it
    entry.value = json.dumps(values)
    onnx.save(graph, tmp_path / "m.onnx")
    assert OnnxDetector.load(tmp_path / "m.onnx").record.quantised is None
