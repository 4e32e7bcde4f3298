"""Runs scored again with other read-outs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altub.errors import ConfigError
from altub.evaluation import rescore
from altub.evaluation.energy_cache import EnergyCache, forget_energies
from altub.evaluation.study.results import NO_FLOW
from altub.inference.detector import AnomalyDetector
from altub.runs.run import Run
from altub.training.config import make_config
from altub.training.loop import train
from tests.cli.conftest import altub

__all__ = ["altub"]

READOUTS = (
    {"map_kind": "mixture", "score_kind": "range", "log_det_weight": 0.5},
    {"map_kind": "likelihood", "score_kind": "map", "log_det_weight": 0.0, "smoothing": 0.0},
)


def trained(path: Path, data: Path, flow: dict[str, Any], readout: dict[str, Any]) -> Run:
    small: dict[str, Any] = {"backbone": "filter-bank", "image_size": 64, "epochs": 1, "batch_size": 6, "device": "cpu"}
    config = make_config(
        data=str(data), category="weave", flow=flow, base={"base_update": "moments"}, **small, **readout
    )
    run = Run.create(path, config)
    for _ in train(run):
        pass
    return run


@pytest.fixture(scope="module")
def run(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run in a study's folder; what is kept beside it may change."""
    folder = tmp_path_factory.mktemp("study") / "runs" / "one"
    return trained(folder, data_folder, {"steps": 1}, READOUTS[0])


@pytest.mark.parametrize("flow", [{"steps": 1, "norm": "layer-affine"}, {"kind": "cflow", "steps": 1}])
def test_equals_a_training_with_that_readout(flow: dict[str, Any], data_folder: Path, tmp_path: Path) -> None:
    """At epoch 0 and at the end, digit for digit."""
    first, second = (trained(tmp_path / str(k), data_folder, flow, READOUTS[k]) for k in (0, 1))
    for epoch_0 in (True, False):
        wanted = [one.events(start=True)[0 if epoch_0 else 1].test for one in (first, second)]
        found = rescore(first, READOUTS, epoch_0=epoch_0, device="cpu")
        assert [one.metrics for one in found] == wanted and wanted[0] != wanted[1]
        assert [one.epoch for one in found] == [0 if epoch_0 else 1] * 2


def test_what_is_kept_is_used_and_never_for_another_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_energies(run)
    passes: list[int] = []
    normalise = AnomalyDetector.load(run.model_dir, "cpu").pyramid.__class__.normalise

    def counted(pyramid: Any, features: Any) -> Any:
        passes.append(len(features))
        return normalise(pyramid, features)

    monkeypatch.setattr("altub.flows.FlowPyramid.normalise", counted)
    first = rescore(run, READOUTS, device="cpu")
    computed = len(passes)
    assert computed > 0 and rescore(run, READOUTS, device="cpu") == first and len(passes) == computed
    rescore(run, [{"log_det_weight": 1.0}], device="cpu")
    assert len(passes) > computed, "a weight that is not kept yet"
    assert EnergyCache(run, "model", "cpu").missing([0.0, 0.25, 0.5, 1.0]) == [0.25]

    kept = run.path / "rescoring" / "model.npz"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:100])
    assert rescore(run, READOUTS, device="cpu") == first, "a damaged file is replaced"
    detector = AnomalyDetector.load(run.model_dir, "cpu")
    detector.pyramid.bases[0].mean.data += 1.0
    shutil.copytree(run.model_dir, run.path / "before")
    detector.save(run.model_dir)
    try:
        assert EnergyCache(run, "model", "cpu").missing([0.0]) == [0.0]
        assert rescore(run, READOUTS, device="cpu") != first
    finally:
        shutil.rmtree(run.model_dir)
        (run.path / "before").rename(run.model_dir)
    with pytest.raises(ConfigError, match="epochs"):
        rescore(run, [{"epochs": 3}], device="cpu")


def test_the_table_of_a_question(run: Run, altub: Callable[..., Any]) -> None:
    study = run.path.parent.parent
    asked = ("study", "--study-dir", study, "--rescore", "map_kind=mixture,nll", "--rescore", "log_det_weight=0,0.5")
    ended = altub(*asked, "--devices", "cpu", "--json")
    assert ended.code == 0, ended
    rows = json.loads(ended.out)["summary"]
    assert [(row["update"], row["map_kind"], row["log_det_weight"]) for row in rows] == [
        (update, kind, weight)
        for update in (NO_FLOW, "moments")
        for kind in ("mixture", "nll")
        for weight in ("0", "0.5")
    ]
    last = run.events()[-1].test
    assert (rows[5]["pixel_auroc_mean"], rows[5]["image_auroc_mean"]) == (last.pixel_auroc, last.image_auroc)
    table = (study / "rescored-map_kind-log_det_weight.md").read_text().splitlines()
    assert len(table) == 2 + len(rows) and NO_FLOW in table[2]
    assert (study / "rescored-map_kind-log_det_weight.csv").read_text().count(NO_FLOW) == 4

    assert altub("study", "--study-dir", study, "--forget-cache").code == 0
    assert not (run.path / "rescoring").exists()
    altub("study", "--study-dir", study, "--rescore", "epochs=1,2").assert_refused("epochs")
