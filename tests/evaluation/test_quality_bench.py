"""A training to equal quality, small: ours for real, the peer a script that prints what a peer would."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from altub.errors import ConfigError, DataError, RunError
from altub.evaluation.bench.quality import Epoch, QualityBench, Training, targets
from altub.evaluation.bench.side import PEER_SCRIPT
from altub.evaluation.step_time import convolution_flops
from tests.conftest import SIDE, write_category

pytestmark = pytest.mark.usefixtures("quick_processes")

FAKE = """
import json, os, sys
print("a library prints what it likes")
print(json.dumps({"kind": "imported"}), flush=True)
job = json.loads(sys.stdin.readline())
assert len(job["train"]) == 12 and len(job["test"]) == 8 and job["image_size"] == 64 and job["threads"] == 1
assert job["device"] == "cpu" and os.environ["OMP_NUM_THREADS"] == "1" and "OMP_WAIT_POLICY" not in os.environ
assert sum(mask is not None for _, mask in job["test"]) == 4
print(json.dumps({"kind": "about", "flops": 1000, "train_images": len(job["train"])}))
for epoch, auroc in enumerate((0.1, 0.3, 0.2), start=1):
    told = {"epoch": epoch, "pixel_auroc": auroc, "evaluating": 0.0, "cpu_seconds": 3 * epoch, "evaluating_cpu": epoch}
    print(json.dumps({"kind": "epoch", **told}))
"""


def make_bench(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Options of a bench of the filter bank, which a fake peer is told to be a resnet18."""
    monkeypatch.setenv("ALTUB_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("altub.evaluation.bench.side.PEER_BACKBONES", ("filter-bank",))
    (tmp_path / "filter-bank.safetensors").touch()
    (tmp_path / "fake.py").write_text(FAKE)
    return {
        "data": str(data_folder),
        "category": "weave",
        "backbone": "filter-bank",
        "image_size": SIDE,
        "epochs": 1,
        "device": "cpu",
        "threads": 1,
        "peer_script": tmp_path / "fake.py",
    }


@pytest.fixture
def bench(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    return make_bench(data_folder, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def found(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a bench of both sides finds."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        options = make_bench(data_folder, tmp_path_factory.mktemp("bench"), monkeypatch)
        return QualityBench(**options, peer_python=Path(sys.executable)).run()


def test_both_sides_are_timed_to_the_auroc_that_the_peer_ends_at(found: dict[str, Any]) -> None:
    json.dumps(found, allow_nan=False)
    last, best = found["targets"]["last"], found["targets"]["best"]
    assert last["pixel_auroc"] == 0.2 and last["reached"]["peer"]["epoch"] == 2, "the first that is as good"
    assert best["pixel_auroc"] == 0.3 and best["reached"]["peer"] == last["reached"]["peer"]
    assert [epoch["epoch"] for epoch in found["ours"]["epochs"]] == [0, 1]
    for side in (found["ours"], found["peer"]):
        seconds = [side["imports"], *(epoch["seconds"] for epoch in side["epochs"])]
        assert seconds == sorted(seconds) and seconds[0] > 0
    first, second = found["ours"]["epochs"]
    assert 0 < first["evaluating"] < second["evaluating"] < second["seconds"]
    ours, peer = last["reached"]["ours"], last["reached"]["peer"]
    assert last["ratios"]["seconds"] == peer["seconds"] / ours["seconds"]
    own = ours["seconds"] - found["ours"]["imports"] - ours["evaluating"]
    expected = pytest.approx((peer["seconds"] - found["peer"]["imports"]) / own)
    assert last["ratios"]["without_imports_and_evaluations"] == expected


def test_images_a_second_and_the_share_of_the_roofline(found: dict[str, Any]) -> None:
    ours, peer = found["ours"], found["peer"]
    assert (found["device"], found["device_name"], found["threads"]) == ("cpu", "CPU, 1 threads", 1)
    assert 0 < ours["train_images"] < 12 == peer["train_images"], "ours holds some out"
    shapes = tuple((30, side, side) for side in (16, 8, 4))
    assert ours["flops"] == convolution_flops(1, shapes), "of the features of the filter bank"
    first, second = ours["epochs"]
    seconds = second["seconds"] - second["evaluating"] - (first["seconds"] - first["evaluating"])
    assert ours["images_per_second"] == pytest.approx(ours["train_images"] / seconds)
    cpu = second["cpu_seconds"] - second["evaluating_cpu"] - (first["cpu_seconds"] - first["evaluating_cpu"])
    expected = ours["flops"] * ours["train_images"] / ours["matmul_rate"] / cpu
    assert ours["roofline_share"] == pytest.approx(expected) and 0 < first["evaluating_cpu"] < second["evaluating_cpu"]
    # Two epochs of 12 images after the first; of every epoch's 3 seconds of CPU time one was in its evaluation.
    assert peer["roofline_share"] == pytest.approx(1000 * 12 * 2 / ours["matmul_rate"] / 4)


def test_without_a_peer_ours_is_timed_to_its_own_end(bench: dict[str, object]) -> None:
    found = QualityBench(**bench).run()
    last = found["targets"]["last"]
    assert found["peer"] is None and last["reached"]["peer"] is None and last["ratios"] is None
    assert last["pixel_auroc"] == found["ours"]["epochs"][-1]["pixel_auroc"]


def test_what_is_not_reached_has_no_time() -> None:
    about = {"flops": 1, "train_images": 1, "images_per_second": 1.0}
    ours = Training(1.0, (Epoch(0, 0.5, 2.0, 0.1, 2.0, 0.1), Epoch(1, 0.7, 3.0, 0.2, 3.0, 0.2)), **about)
    peer = Training(1.0, (Epoch(1, 0.8, 9.0, 0.1, 2.0, 0.1), Epoch(2, 0.6, 19.0, 0.2, 3.0, 0.2)), **about)
    assert ours.reached(0.6).epoch == 1 and ours.reached(0.8) is None
    found = targets(ours, peer)
    assert found["last"]["ratios"]["seconds"] == 9.0 / 3.0 and found["best"]["ratios"] is None


def test_what_cannot_be_compared_is_refused(bench: dict[str, object], tmp_path: Path) -> None:
    python = Path(sys.executable)
    with pytest.raises(ConfigError, match="no backbone 'vgg11'"):
        QualityBench(**bench | {"backbone": "vgg11"}, peer_python=python).run()
    with pytest.raises(ConfigError, match="cannot be started"):
        QualityBench(**bench, peer_python=tmp_path / "nowhere").run()
    write_category(tmp_path / "data" / "plain", masks=False)
    with pytest.raises(DataError, match="no masks"):
        QualityBench(**bench | {"data": str(tmp_path / "data"), "category": "plain"}).run()
    (tmp_path / "fake.py").write_text("raise SystemExit('anomalib is too old')")
    with pytest.raises(RunError, match="The peer failed: anomalib is too old"):
        QualityBench(**bench, peer_python=python).run()
    (tmp_path / "filter-bank.safetensors").unlink()
    with pytest.raises(ConfigError, match="set ALTUB_WEIGHTS"):
        QualityBench(**bench, peer_python=python).run()


def test_the_script_of_the_peer_needs_nothing_of_ours_and_says_what_it_misses(bench: dict[str, object]) -> None:
    text = PEER_SCRIPT.read_text(encoding="utf-8")
    assert "from altub" not in text and "import altub" not in text
    if "anomalib" in sys.modules:
        pytest.skip("anomalib is installed here")
    with pytest.raises(RunError, match="The peer failed: ModuleNotFoundError: No module named 'anomalib'"):
        QualityBench(**bench | {"peer_script": PEER_SCRIPT}, peer_python=Path(sys.executable)).run()
