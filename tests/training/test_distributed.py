"""One training by two processes on a CPU: the result of one process, and one writer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from altub.cli.app import app
from altub.cli.settings import open_or_create
from altub.errors import ConfigError
from altub.flows.norms import NormFit
from altub.runs.run import Run
from altub.training.distributed import ALONE, Agreed, Group, join_group, summed
from altub.training.loop import train
from tests.conftest import REPOSITORY, SIDE

SETTINGS = {
    "batch_size": 3,
    "base.base_update": "moments",
    "base.interval": 2,
    "flow.steps": 2,
    "flow.position_rank": 4,
}


def test_two_processes_train_what_one_trains(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of 3 of 8 images: the processes' shares differ, and one may have none."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # What torchrun sets; the first process is this one.
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    options = ["train", "--run-dir", str(tmp_path / "two"), "--data", str(data_folder), "--category", "weave"]
    options += ["--backbone", "filter-bank", "--epochs", "2", "--image-size", str(SIDE), "--device", "cpu", "--quiet"]
    options += [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    second = subprocess.Popen(
        [sys.executable, "-m", "altub", *options],
        cwd=REPOSITORY,
        env={**os.environ, **place, "RANK": "1", "LOCAL_RANK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with monkeypatch.context() as here:
        for name, value in {**place, "RANK": "0", "LOCAL_RANK": "0"}.items():
            here.setenv(name, value)
        done = CliRunner().invoke(app, options)
    said, _ = second.communicate(timeout=60)
    assert done.exit_code == 0, (done.output, said)
    assert second.returncode == 0 and said == "", "the second process tells nothing"

    nested: dict = {"flow": {}, "base": {}}
    for name, value in SETTINGS.items():
        group, _, key = name.rpartition(".")
        (nested[group] if group else nested)[key] = value
    one = open_or_create(
        tmp_path / "one", None, {"data": str(data_folder), "category": "weave", "backbone": "filter-bank", "epochs": 2,
        "image_size": SIDE, "device": "cpu", **nested}, resume=False,
    )  # fmt: skip
    for _ in train(one):
        pass
    two = Run.open(tmp_path / "two")
    assert two.read_status().state == "finished"
    assert len(two.events(start=True)) == len(one.events(start=True)) == 3, "each epoch is written once"
    for ours, theirs in zip(two.events(start=True), one.events(start=True), strict=True):
        for name in ("loss", "held_out"):
            a, b = ours.value(name), theirs.value(name)
            assert (a is None) == (b is None) and (a is None or a == pytest.approx(b, abs=1e-5)), (ours.epoch, name)
        assert ours.test.pixel_auroc == pytest.approx(theirs.test.pixel_auroc, abs=1e-4)
    weights = load_file(two.model_dir / "model.safetensors"), load_file(one.model_dir / "model.safetensors")
    assert set(weights[0]) == set(weights[1])
    for name, values in weights[0].items():
        if "vectors" not in name:  # of close eigenvalues any pair of eigenvectors will do
            # Adam makes a whole step of a gradient that is nothing but rounding: a few weights may differ.
            differing = (values - weights[1][name]).abs() > 1e-3 + 1e-3 * weights[1][name].abs()
            assert differing.float().mean() < 0.02, name


class _Pair(Group):
    """The second of two processes, where the first one has the same numbers."""

    rank, size = 1, 2

    def add(self, values: torch.Tensor) -> torch.Tensor:
        return 2 * values

    def main_says(self, answer: bool) -> bool:
        return True


def test_what_a_process_works_on_and_what_it_is_told() -> None:
    pair = _Pair()
    assert pair.own([5, 2, 4, 7]) == [5, 7] and ALONE.own([5, 2]) == [5, 2] and not pair.is_main
    tensors = [torch.ones(2, 3), torch.full((4,), 2.0)]
    for found, given in zip(summed(pair, tensors), tensors, strict=True):
        assert torch.equal(found, 2 * given)
    assert all(found is given for found, given in zip(summed(ALONE, tensors), tensors, strict=True))
    stop, alone = Agreed(pair, lambda: False), Agreed(ALONE, lambda: True)
    assert not stop() and alone()
    stop.look()
    assert stop(), "what the first process says counts, at the same step for all"


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with join_group() as group:
        assert group is ALONE and group.is_main and group.share == (0, 1)


def test_a_norm_that_cannot_be_shared_says_so() -> None:
    class Own(NormFit):
        def observe(self, features: torch.Tensor) -> None: ...

        def end_pass(self) -> bool:
            return True

    with pytest.raises(ConfigError, match="several processes"):
        Own().merge(lambda values: values)
