"""The command `bench`: what it prints of a training to equal quality, of scoring and of the start."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from altub.evaluation import bench
from altub.evaluation.bench.quality import QualityBench
from altub.evaluation.bench.scoring_peer import InferenceBench
from altub.evaluation.bench.steps import StepBench
from altub.runs.run import Run
from tests.conftest import SIDE

pytestmark = pytest.mark.usefixtures("quick_processes")

EPOCH = {"epoch": 1, "pixel_auroc": 0.9, "seconds": 30.0, "evaluating": 2.0, "cpu_seconds": 50.0}
SPEED = {"images_per_second": 7.5, "roofline_share": 0.66}
FOUND = {
    "category": "screw",
    "image_size": 128,
    "backbone": "resnet18.tv_in1k",
    "device_name": "CPU, 2 threads",
    "targets": {"last": {"pixel_auroc": 0.89, "reached": {"ours": EPOCH, "peer": None}, "ratios": None}},
    "ours": {"imports": 3.0, "epochs": [EPOCH], **SPEED},
    "peer": {"imports": 4.0, "epochs": [EPOCH | {"pixel_auroc": 0.88}], "images_per_second": None},
}


def test_a_training_to_equal_quality(altub, data_folder: Path) -> None:
    options = ("--data", data_folder, "--backbone", "filter-bank", "--image-size", SIDE, "--epochs", 1, "--threads", 1)
    options += ("--device", "cpu")
    ended = altub("bench", "--time-to-quality", "--category", "weave", *options, "--json")
    found = json.loads(ended.out)
    assert [line.split(",")[0] for line in ended.err.splitlines()] == ["Our training: epoch 0", "Our training: epoch 1"]
    assert found["category"] == "weave" and len(found["ours"]["epochs"]) == 2 and found["peer"] is None
    altub("bench", "--time-to-quality", *options).assert_refused("give --category")
    peer = ("--category", "weave", "--peer-python", sys.executable)
    altub("bench", "--time-to-quality", *options, *peer).assert_refused("The peer has no backbone 'filter-bank'")


def test_a_table_of_it(altub, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = {"reached": {"ours": EPOCH, "peer": EPOCH}, "ratios": {"seconds": 2.0, "cpu_seconds": 1.5}}
    both = FOUND | {"targets": {"last": FOUND["targets"]["last"] | reached}}
    for found, last in ((FOUND, "peer     not reached; best 0.8800"), (both, "seconds 2.00, cpu seconds 1.50")):
        monkeypatch.setattr(QualityBench, "run", lambda self, found=found: found)
        lines = altub("bench", "--time-to-quality", "--category", "screw").out.splitlines()
        assert lines[0] == "screw, 128 px, resnet18.tv_in1k, CPU, 2 threads, fp32"
        assert lines[2] == "pixel AUROC of the peer, last epoch: 0.8900" and lines[-3].endswith(last)
        assert lines[-1] == "ours     7.5 images/s while training, 66 % of the roofline", "of one epoch there is none"
        assert lines[4].split() == ["ours", "1", "0.9000", "30.0", "3.0", "2.0", "50.0"]


def test_the_start(altub, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, object] = {"import altub": 0.1, "page answers": None}
    monkeypatch.setattr(bench, "run_startup", lambda peer_python: {**found, "asked": float(peer_python is not None)})
    ours = ["import altub      0.10 s", "page answers    Gradio is not installed"]
    assert altub("bench", "--startup").out.splitlines() == [*ours, "asked             0.00 s"]
    seconds = {"import anomalib": 0.25, "anomalib --help": None}
    missing = {"anomalib --help": "no module named x"}
    found["peer"] = {"seconds": seconds, "missing": missing, "ratios": {"import altub": 2.5}}
    assert altub("bench", "--startup", "--peer-python", "py").out.splitlines() == [
        *ours,
        "asked             1.00 s",
        "import anomalib   0.25 s",
        "anomalib --help no module named x",
        "import altub: the peer takes 2.5 times as long",
    ]


def test_scoring_beside_a_peer(altub, trained_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[InferenceBench] = []

    def run(self: InferenceBench) -> dict[str, object]:
        told.append(self)
        self.tell("a line")
        return {"rows": []}

    monkeypatch.setattr(InferenceBench, "run", run)
    options = ("bench", "--inference", trained_run.model_dir, "--threads", 3, "--repeats", 2, "--peer-python", "py")
    options += ("--device", "cpu")
    assert altub(*options).out == "a line\n"
    assert json.loads(altub(*options, "--json").out) == {"rows": []}
    asked = [(one.threads, one.repeats, one.device, one.peer_python) for one in told]
    assert asked == [(3, 2, "cpu", Path("py"))] * 2


def side(seconds: float, **more: object) -> dict[str, object]:
    """An epoch of a side."""
    values = {"images_per_second": 64 / seconds, "precision": "fp32", "roofline_share": 0.71, "peak_memory_mib": 1900.4}
    return {"seconds": seconds, "cpu_seconds": 2 * seconds, "caching_seconds": 3.0, **values, **more}


def ratio(value: float) -> dict[str, float]:
    return {"seconds": value, "cpu_seconds": value / 2, "with_caching": value / 4}


@pytest.mark.parametrize("with_peer", [True, False])
def test_steps_and_epochs(altub, monkeypatch: pytest.MonkeyPatch, with_peer: bool) -> None:
    """Every side has its row and every ratio its column; without a peer neither is there."""
    told: list[StepBench] = []
    peer = with_peer or None
    row = {"channels": 64, "side": 32, "kernel": 3, "ours": side(0.1), "published": side(0.15)}
    row |= {"peer": peer and side(0.2), "ratios": {"published": ratio(1.5), "peer": peer and ratio(2.0)}}
    epoch = {"images": 64, "image_size": 256, "backbone": "resnet18", "long_training": 30}
    epoch |= {"ours": side(8.0), "ours_default": side(4.0, precision="bf16"), "published": side(12.0)}
    epoch |= {"peer": peer and side(16.0), "matmul_rates": {"bf16": 2e11, "fp32": 1e11}}
    epoch |= {"loss_difference": {"published": 1e-7, "peer": peer and 2e-7}}
    ratios = {"ours": (1.5, 2.0), "ours_default": (3.0, 4.0)}
    epoch["ratios"] = {
        ours: {"published": ratio(first), "peer": peer and ratio(second)} for ours, (first, second) in ratios.items()
    }
    found = {"device": "cpu", "device_name": "CPU, 2 threads", "tf32": False, "repeats": 7, "epoch": epoch}
    found["steps"] = [{"backbone": "resnet18", "images": 32, "rows": [row], "all": row}]

    def run(self: StepBench) -> dict[str, object]:
        told.append(self)
        return found

    monkeypatch.setattr(StepBench, "run", run)
    options = ("bench", "--threads", 3, "--repeats", 2, "--device", "cpu", "--peer-python", "py")
    assert json.loads(altub(*options, "--json").out) == json.loads(json.dumps(found))
    lines = altub(*options).out.splitlines()
    asked = [(one.threads, one.repeats, one.device, one.peer_python) for one in told]
    assert asked == [(3, 2, "cpu", Path("py"))] * 2
    words = [line.split() for line in lines]
    steps = ["ours", "ms", "FrEIA", "ms", "ratio", *(["anomalib", "ms", "ratio"] if with_peer else [])]
    assert words[2][-len(steps) :] == steps
    numbers = ["100.0", "150.0", "1.50", "(0.75)", *(["200.0", "2.00", "(1.00)"] if with_peer else [])]
    assert words[3] == ["64", "channels,", "32", "x", "32,", "3x3", "subnet", *numbers]
    rows = {line[:30].strip(): line[30:].split() for line in lines}
    assert rows["ours, same mathematics"] == ["8.00", "16.00", "8.00", "71", "%", "1900"]
    assert rows["ours by default, bf16"] == ["4.00", "8.00", "16.00", "71", "%", "1900"]
    assert rows["published loop"][-4:] == ["1.50", "(0.75)", "3.00", "(1.50)"]
    assert (rows.get("anomalib", [])[-4:] == ["2.00", "(1.00)", "4.00", "(2.00)"]) is with_peer
    assert "over 30 epochs: published loop 0.38" in lines[-4] and "published loop 0.75" in lines[-3]
    assert lines[-2].endswith("a second of CPU time: 200 in bf16, 100 in fp32")
    assert lines[-1].endswith("published loop 1.0e-07, anomalib 2.0e-07" if with_peer else "published loop 1.0e-07")
