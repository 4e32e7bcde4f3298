"""Run directories and models that version 0.1.0 wrote stay readable, predict the same and train on to the same losses.

`v0.1.0/` was written by that version: a small category, a finished and a stopped run of each flow, and what they gave.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from altub import AnomalyDetector, Run, make_config, train

SAVED = Path(__file__).parent / "v0.1.0"
EXPECTED = json.loads((SAVED / "expected.json").read_text())
FLOWS = ("fastflow", "cflow")
# Other processors round otherwise; on the machine that wrote them the numbers are equal to the last bit.
CLOSE = {"rel": 1e-4, "abs": 1e-5}


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in; the runs name their data by a relative path."""
    folder = shutil.copytree(SAVED, tmp_path / "saved")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("flow", FLOWS)
def test_a_model_gives_its_old_scores(flow: str) -> None:
    detector = AnomalyDetector.load(SAVED / "runs" / f"{flow}-finished" / "model", device="cpu")
    assert EXPECTED["predictions"][flow]
    for name, told in EXPECTED["predictions"][flow].items():
        prediction, threshold = detector.predict(SAVED / "data/weave" / name), detector.calibration.threshold(0.2)
        assert prediction.score == pytest.approx(told["score"], **CLOSE), name
        assert prediction.p_value == told["p_value"]
        assert threshold.value == pytest.approx(told["threshold"], **CLOSE)
        assert threshold.pixel_value == pytest.approx(told["pixel_threshold"], **CLOSE)
        assert prediction.anomaly_map.mean() == pytest.approx(told["map_mean"], **CLOSE)
        assert prediction.anomaly_map.max() == pytest.approx(told["map_max"], **CLOSE)
        assert prediction.at(threshold).mask.mean() == pytest.approx(told["marked"], abs=2e-3)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_run_directory_is_read(flow: str) -> None:
    run = Run.open(SAVED / "runs" / f"{flow}-finished")
    assert run.status.state == "finished" and run.status.epoch == run.config.epochs == 4
    assert run.config.flow.kind == flow and run.config.base.interval == 2
    assert [len(mean) for mean, _ in run.base_history()] == [5] * len(run.base_history())
    assert losses(run) == [told["loss"] for told in EXPECTED["losses"][flow]]
    last, best = run.last_and_best()
    assert last.epoch == 4 and 0 <= best.test.pixel_auroc <= 1


@pytest.mark.parametrize("flow", FLOWS)
def test_a_stopped_run_trains_on_to_the_same_losses(flow: str, saved: Path) -> None:
    run = Run.open(saved / "runs" / f"{flow}-stopped")
    assert run.status.state == "stopped" and run.status.epoch == 2 and run.status.step == 2
    for _ in train(run):
        pass
    assert run.status.state == "finished"
    assert losses(run) == pytest.approx([told["loss"] for told in EXPECTED["losses"][flow]], **CLOSE)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_new_training_has_the_old_losses(flow: str, saved: Path) -> None:
    """The mathematics and everything random are those of 0.1.0."""
    old = Run.open(saved / "runs" / f"{flow}-finished")
    run = Run.create(saved / "runs" / "again", make_config(**old.config.model_dump()))
    for _ in train(run):
        pass
    assert losses(run) == pytest.approx([told["loss"] for told in EXPECTED["losses"][flow]], **CLOSE)


def losses(run: Run) -> list[float]:
    return [event.loss for event in run.events() if event.epoch]
