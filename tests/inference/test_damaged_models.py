"""Damaged, foreign and hostile models are refused in words."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from altub.errors import ConfigError, ModelError, WeightsError
from altub.inference.detector import AnomalyDetector
from altub.inference.model_files import (
    CONFIG_FILE,
    FORMAT_VERSION,
    WEIGHTS_FILE,
)
from altub.runs.run import Run


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
        (lambda c: c["detector"].update(shapes=[[10**9, 16, 16]] * 3), "should be less than or equal to"),
        (lambda c: c["detector"]["shapes"][0].__setitem__(1, 10**6), "should be less than or equal to"),
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
