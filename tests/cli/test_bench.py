"""The command `bench`: what it prints of a training to equal quality, of scoring and of the start."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from altub.evaluation import bench
from altub.evaluation.bench.quality import QualityBench
from altub.evaluation.bench.scoring_peer import InferenceBench
from altub.runs.run import Run
from tests.conftest import SIDE

EPOCH = {"epoch": 1, "pixel_auroc": 0.9, "seconds": 30.0, "evaluating": 2.0, "cpu_seconds": 50.0}
FOUND = {
    "category": "screw",
    "image_size": 128,
    "backbone": "resnet18.tv_in1k",
    "threads": 2,
    "targets": {"last": {"pixel_auroc": 0.89, "reached": {"ours": EPOCH, "peer": None}, "ratios": None}},
    "ours": {"imports": 3.0, "epochs": [EPOCH]},
    "peer": {"imports": 4.0, "epochs": [EPOCH | {"pixel_auroc": 0.88}]},
}


def test_a_training_to_equal_quality(altub, data_folder: Path) -> None:
    options = ("--data", data_folder, "--backbone", "filter-bank", "--image-size", SIDE, "--epochs", 1, "--threads", 1)
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
        assert lines[2] == "pixel AUROC of the peer, last epoch: 0.8900" and lines[-1].endswith(last)
        assert lines[4].split() == ["ours", "1", "0.9000", "30.0", "3.0", "2.0", "50.0"]


def test_the_start(altub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "run_startup", lambda: {"import altub": 0.1, "page answers": None})
    assert altub("bench", "--startup").out.splitlines() == [
        "import altub      0.10 s",
        "page answers    Gradio is not installed",
    ]


def test_scoring_beside_a_peer(altub, trained_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[InferenceBench] = []

    def run(self: InferenceBench) -> dict[str, object]:
        told.append(self)
        self.tell("a line")
        return {"rows": []}

    monkeypatch.setattr(InferenceBench, "run", run)
    options = ("bench", "--inference", trained_run.model_dir, "--threads", 3, "--repeats", 2, "--peer-python", "py")
    assert altub(*options).out == "a line\n"
    assert json.loads(altub(*options, "--json").out) == {"rows": []}
    assert [(one.threads, one.repeats, one.peer_python) for one in told] == [(3, 2, Path("py"))] * 2
