"""What a saved model holds, and that its two files are replaced as if they were one."""

from __future__ import annotations

import errno
import json
import os
import pickle
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors.torch
import torch

from altub import files
from altub.errors import DiskFullError
from altub.inference import model_files
from altub.inference.detector import AnomalyDetector
from altub.inference.model_files import (
    CONFIG_FILE,
    FORMAT_VERSION,
    NEXT_WEIGHTS_FILE,
    WEIGHTS_FILE,
    read_model,
    write_model,
)
from altub.runs.run import Run
from tests.conftest import REPOSITORY
from tests.inference.detectors import assert_same, untrained


def test_nothing_is_pickled(
    trained_run: Run, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was asked for")

    for module, name in (
        *((pickle, name) for name in ("dump", "dumps", "load", "loads", "Unpickler")),
        (torch, "load"),
        (torch, "save"),
    ):
        monkeypatch.setattr(module, name, refuse)
    loaded = AnomalyDetector.load(trained_run.model_dir, "cpu")
    loaded.save(tmp_path)
    assert AnomalyDetector.load(tmp_path, "cpu").predict(pictures[0]).score == loaded.predict(pictures[0]).score
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", CONFIG_FILE, WEIGHTS_FILE]


def test_a_saved_model_names_no_folder_of_the_machine(trained_run: Run, data_folder: Path) -> None:
    for path in trained_run.model_dir.iterdir():
        content = path.read_bytes()
        for private in (data_folder, trained_run.path, REPOSITORY):
            assert str(private).encode() not in content, f"{path.name} holds {private}"
    config = json.loads((trained_run.model_dir / CONFIG_FILE).read_text())
    assert "data" not in config["info"]["training"] and config["info"]["training"]["epochs"] == 4
    assert config["info"]["category"] == "weave" and config["format_version"] == FORMAT_VERSION
    assert config["backbone"]["weights"]["sha256"] == config["detector"]["backbone_sha256"]


def test_the_card_tells_what_it_is(trained_run: Run) -> None:
    card = (trained_run.model_dir / "README.md").read_text()
    last = trained_run.last_and_best()[0].test
    assert card.startswith("---\n") and "weave" in card and "filter-bank" in card
    assert f"| pixel AUROC | {last.pixel_auroc:.4f} |" in card


def test_the_weights_are_those_of_the_flow_and_not_of_the_backbone(trained_run: Run) -> None:
    names = safetensors.torch.load_file(trained_run.model_dir / WEIGHTS_FILE).keys()
    assert {name.split(".")[0] for name in names} == {"pyramid", "calibration"}


# Two files, replaced as if they were one.


def test_a_model_can_be_loaded_wherever_a_save_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the writer at each of its steps: what is there is one whole version, and the next save works."""
    monkeypatch.setattr(model_files, "READ_ATTEMPTS", 1)

    class Killed(BaseException):
        pass

    real_replace, left = files.os.replace, [0]

    def replace(source: object, target: object) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        real_replace(source, target)

    monkeypatch.setattr(files.os, "replace", replace)
    versions = iter(range(1000))

    def save(moves: int) -> int:
        version, left[0] = next(versions), moves
        write_model(tmp_path, {"version": version}, b"weights %d" % version)
        return version

    newest = save(100)
    for first in range(4):
        for second in range(4):
            for moves in (first, second):
                with suppress(Killed):
                    newest = save(moves)
                config, weights = read_model(tmp_path)
                assert weights == b"weights %d" % config["version"] and config["version"] >= newest
                newest = config["version"]
    assert save(100) == read_model(tmp_path)[0]["version"]
    assert not (tmp_path / NEXT_WEIGHTS_FILE).exists()


def test_a_full_disk_keeps_the_model_that_was_there(
    detector: AnomalyDetector, model_dir: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = AnomalyDetector.load(model_dir, "cpu").predict(pictures[0])
    steps = iter([True, False])
    real_fsync = os.fsync

    def fsync(handle: int) -> None:
        if next(steps):
            return real_fsync(handle)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(DiskFullError):
        untrained().save(model_dir)  # its weights still found room, its config.json did not
    assert_same(AnomalyDetector.load(model_dir, "cpu").predict(pictures[0]), expected, detector.threshold)


def test_a_reader_waits_for_a_writer_between_its_two_files(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config read is the old one, the weights are new by then: the second look finds both new."""
    old, new = b"old", b"new"
    write_model(model_dir, {"version": 1}, old)
    real_read, looks = model_files._read_config, []

    def read_config(folder: Path) -> dict:
        config = real_read(folder)
        if not looks:
            write_model(model_dir, {"version": 2}, new)
        looks.append(config["version"])
        return config

    monkeypatch.setattr(model_files, "_read_config", read_config)
    config, weights = read_model(model_dir)
    assert (config["version"], weights, looks) == (2, new, [1, 2])
