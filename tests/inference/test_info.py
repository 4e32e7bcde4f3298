"""What a model's config.json tells of its training: the form on disk, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from altub.errors import ModelError
from altub.hub.checks import PushedInfo
from altub.inference.info import ImageCounts, ModelInfo
from altub.inference.model_files import read_config
from altub.metrics import Metrics
from altub.runs.run import Run
from altub.training.config import TrainingConfig

SAVED = sorted((Path(__file__).parents[1] / "compatibility/v0.1.0/runs").glob("*/model/config.json"))


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.parts[-3])
def test_info_of_0_1_0_comes_back_as_it_was(path: Path) -> None:
    told = json.loads(path.read_text())["info"]
    info = ModelInfo.model_validate(told)
    assert json.dumps(info.to_json()) == json.dumps(told)
    assert info.category == "weave" and info.measured["pixel_auroc"] > 0.5 and info.images.trained == 8
    assert TrainingConfig.of_model(info).epochs == told["training"]["epochs"]
    assert PushedInfo.model_validate(told).epoch == info.epoch


def test_new_info_has_the_keys_of_the_old_one(trained_run: Run) -> None:
    new, old = (json.loads(p.read_text())["info"] for p in (trained_run.model_dir / "config.json", SAVED[0]))
    assert (
        list(new) == list(old)
        and [name for name in new["metrics"] if name in old["metrics"]] == list(old["metrics"])
        and new["images"]
        == {
            "trained": new["images"]["trained"],
            "held_out": new["images"]["held_out"],
            "test": new["images"]["test"],
        }
    )


def test_entries_of_a_later_version_are_kept() -> None:
    told = {"category": "bottle", "images": {"trained": 3, "labelled": 2}, "line": {"camera": 7}}
    assert ModelInfo.model_validate(told).to_json() == told


def test_nothing_said_is_nothing_written() -> None:
    assert ModelInfo().to_json() == {} and ModelInfo().measured == {}
    assert ModelInfo(metrics=Metrics(aupro=0.5, f1_max=None)).measured == {"aupro": 0.5}
    assert ImageCounts().held_out is None and TrainingConfig.of_model(ModelInfo()) is None


@pytest.mark.parametrize(
    "told",
    [
        {"epoch": -1},
        {"epoch": 100_001},
        {"epoch": "many"},
        {"category": 7},
        {"metrics": {"aupro": "<b>"}},
        {"metrics": {"aupro": float("nan")}},
        {"held_out": float("inf")},
        {"images": [1]},
        {"training": "words"},
    ],
)
def test_damaged_info_is_refused(told: dict) -> None:
    for kind in (ModelInfo, PushedInfo):
        with pytest.raises(ValidationError):
            kind.model_validate(told)


@pytest.mark.parametrize(
    "told",
    [
        {"category": ""},
        {"category": "x" * 201},
        {"data": "x" * 201},
        {"data": None},
        {"training": {"category": "a", "epochs": 0}},
        {"training": {"category": "a", "unheard": 1}},
    ],
)
def test_the_hub_is_held_to_more(told: dict) -> None:
    ModelInfo.model_validate(told)
    with pytest.raises(ValidationError):
        PushedInfo.model_validate(told)
    assert PushedInfo().data == "own" and PushedInfo().category == "unknown"


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.parts[-3])
def test_a_config_of_0_1_0_is_read_without_its_weights(path: Path, tmp_path: Path) -> None:
    shutil.copyfile(path, tmp_path / "config.json")
    config = read_config(tmp_path)
    assert config.info.epoch in (2, 4) and config.detector.backbone == "filter-bank"
    assert config.weights_sha256 == json.loads(path.read_text())["weights_sha256"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detector": None}, "detector"),
        ({"weights_sha256": 3}, "weights_sha256"),
        ({"info": {"epoch": -1}}, "info.epoch"),
        ({"info": []}, "info"),
        ({"format_version": 99}, "update AltUB"),
        ({"format": "other"}, "does not describe an AltUB model"),
    ],
)
def test_a_damaged_config_is_one_sentence(change: dict, message: str, tmp_path: Path) -> None:
    content = json.loads(SAVED[0].read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message) as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_info_is_empty_info(tmp_path: Path) -> None:
    content = json.loads(SAVED[0].read_text())
    for told in ({**content, "info": None}, {key: value for key, value in content.items() if key != "info"}):
        (tmp_path / "config.json").write_text(json.dumps(told))
        assert read_config(tmp_path).info == ModelInfo()
