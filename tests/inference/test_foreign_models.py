"""Models from elsewhere: whatever their files say, they are refused in one sentence and before they take memory."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from altub import AnomalyDetector, Run
from altub.errors import ModelError
from altub.inference import storage
from altub.inference.model_files import CONFIG_FILE, WEIGHTS_FILE

INFINITY = float("inf")


@pytest.fixture
def folder(trained_run: Run, tmp_path: Path) -> Path:
    return shutil.copytree(trained_run.model_dir, tmp_path / "model")


def change_config(folder: Path, path: str, value: Any) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    *keys, last = path.split(".")
    place = config
    for key in keys:
        place = place[key]
    place[last] = value
    (folder / CONFIG_FILE).write_text(json.dumps(config))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """With a checksum that fits: whoever sends a model also writes its config.json."""
    tensors = safetensors.torch.load_file(folder / WEIGHTS_FILE)
    change(tensors)
    content = safetensors.torch.save(tensors, metadata={"format": "altub"})
    (folder / WEIGHTS_FILE).write_bytes(content)
    change_config(folder, "weights_sha256", hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("detector.smoothing", INFINITY),
        ("detector.smoothing", 1e9),
        ("detector.image_size", 1 << 62),
        ("detector.shapes", [[1 << 40, 16, 16]]),
        ("detector.shapes", []),
        ("detector.stages", list(range(100_000))),
        ("detector.backbone", "x" * 10_000),
        ("detector.backbone_sha256", "no hash"),
        ("detector.flow.steps", 10**6),
        ("weights_sha256", 5),
        ("info.epoch", "two"),
        ("info.epoch", -1),
        ("info.category", "x" * 100_000),
        ("info.metrics", {"pixel_auroc": INFINITY}),
        ("calibration", {str(index): 1 for index in range(1000)}),
    ],
)
def test_a_config_out_of_bounds_is_refused_in_a_sentence(folder: Path, path: str, value: Any) -> None:
    change_config(folder, path, value)
    with pytest.raises(ModelError) as caught:
        AnomalyDetector.load(folder, device="cpu")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600 + len(str(folder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.update({"pyramid.more": torch.zeros(9)}), "more has shape"),
        (lambda t: t.pop(next(name for name in t if name.endswith("bias"))), "has shape None"),
        (lambda t: t.update({"calibration.scores": torch.zeros(3, 3)}), "calibration is not a list"),
        (lambda t: t.update({"calibration.scores": torch.zeros(2_000_000)}), "calibration is not a list"),
        (
            lambda t: t.update({n: v + 7 for n, v in t.items() if n.endswith("permutation")}),
            "not a permutation",
        ),
        (
            lambda t: t.update({n: torch.zeros_like(v) for n, v in t.items() if n.endswith("permutation")}),
            "not a permutation",
        ),
    ],
)
def test_weights_that_are_not_what_the_settings_ask_for(folder: Path, change: Callable, words: str) -> None:
    change_weights(folder, change)
    with pytest.raises(ModelError, match=words):
        AnomalyDetector.load(folder, device="cpu")


def test_a_large_flow_is_refused_before_it_is_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of a flow with billions of parameters beside a small file of weights."""
    change_config(folder, "detector.flow", {"kind": "fastflow", "steps": 64, "hidden_ratio": 4.0})
    built = []
    real = storage.FlowPyramid

    def build(*arguments: Any) -> Any:
        pyramid = real(*arguments)
        built.append(all(tensor.is_meta for tensor in pyramid.state_dict().values()))
        return pyramid

    monkeypatch.setattr(storage, "FlowPyramid", build)
    with pytest.raises(ModelError, match="its settings ask for"):
        AnomalyDetector.load(folder, device="cpu")
    assert built == [True], "only on the meta device, which takes no memory"


def test_header_entries_of_any_kind_are_refused(folder: Path) -> None:
    for header in (b"[]", b"{}", b'{"pyramid.x": 1}', b'{"pyramid.x": {"shape": "no"}}', b"[" * 5000, b"\xff\xfe"):
        content = len(header).to_bytes(8, "little") + header
        (folder / WEIGHTS_FILE).write_bytes(content)
        change_config(folder, "weights_sha256", hashlib.sha256(content).hexdigest())
        with pytest.raises(ModelError, match="damaged"):
            AnomalyDetector.load(folder, device="cpu")


def test_a_loaded_model_does_not_depend_on_its_files(folder: Path, trained_run: Run) -> None:
    detector = AnomalyDetector.load(folder, device="cpu")
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    with (folder / WEIGHTS_FILE).open("r+b") as file:  # overwritten and cut off in place
        file.write(b"\xff" * 2000)
        file.truncate(3000)
    assert all(torch.equal(detector.state_dict()[name], value) for name, value in before.items())
