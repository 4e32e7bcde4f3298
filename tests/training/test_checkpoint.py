"""Exact resume from one safetensors file."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from altub import files
from altub.errors import DiskFullError, RunError
from altub.training.checkpoint import load_checkpoint, save_checkpoint

KINDS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=1e-3),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
}
COUNTERS = {"epoch": 3, "step": 7, "sums": {"heads": [0.1 + 0.2, -1e-300], "images": 5}, "words": "Prüfteil"}


class Model(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("order", torch.tensor([2, 0, 1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.layer(x)[:, self.order]


def trainer(kind: str, seed: int = 0) -> tuple[Model, dict[str, torch.optim.Optimizer]]:
    """One optimiser for all parameters and a second one for some of them, as flow and base have."""
    model = Model(seed)
    return model, {"flow": KINDS[kind](list(model.parameters())), "base": KINDS[kind]([model.scale])}


def steps(model: Model, optimizers: dict[str, torch.optim.Optimizer], first: int, last: int) -> None:
    for index in range(first, last):
        torch.manual_seed(index)
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        (model(torch.randn(8, 4)) - 1).square().mean().backward()
        optimizers["base" if index % 3 == 2 else "flow"].step()


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_from_a_checkpoint_is_going_on(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "checkpoint" / "state.safetensors"
    model, optimizers = trainer(kind)
    steps(model, optimizers, 0, 5)
    save_checkpoint(path, model, optimizers, COUNTERS)
    steps(model, optimizers, 5, 12)

    resumed, fresh = trainer(kind, seed=1)
    assert not torch.equal(resumed.layer.weight, model.layer.weight)
    assert load_checkpoint(path, resumed, fresh) == (COUNTERS, False)
    steps(resumed, fresh, 5, 12)
    for name, value in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_saving_changes_nothing(tmp_path: Path) -> None:
    model, optimizers = trainer("adam")
    steps(model, optimizers, 0, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_checkpoint(tmp_path / "c", model, optimizers, COUNTERS)
    first = (tmp_path / "c").read_bytes()
    save_checkpoint(tmp_path / "c", model, optimizers, COUNTERS)
    assert (tmp_path / "c").read_bytes() == first, "the same state is the same file"
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_before_the_first_step_there_is_a_checkpoint_too(tmp_path: Path) -> None:
    model, optimizers = trainer("adam")
    save_checkpoint(tmp_path / "c", model, optimizers, {"epoch": 0})
    resumed, fresh = trainer("adam", seed=1)
    assert load_checkpoint(tmp_path / "c", resumed, fresh).counters == {"epoch": 0}
    assert torch.equal(resumed.layer.weight, model.layer.weight) and not fresh["flow"].state


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was asked for")

    for module, name in ((pickle, "dumps"), (pickle, "loads"), (pickle, "load"), (torch, "load"), (torch, "save")):
        monkeypatch.setattr(module, name, refuse)
    model, optimizers = trainer("adam")
    steps(model, optimizers, 0, 2)
    save_checkpoint(tmp_path / "c", model, optimizers, COUNTERS)
    load_checkpoint(tmp_path / "c", model, optimizers)
    assert safetensors.torch.load_file(tmp_path / "c")["model.layer.weight"].shape == (3, 4)


def test_every_cut_off_checkpoint_is_said(tmp_path: Path) -> None:
    path = tmp_path / "c"
    model, optimizers = trainer("adam")
    steps(model, optimizers, 0, 3)
    save_checkpoint(path, model, optimizers, COUNTERS)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        with pytest.raises(RunError, match="is damaged or of another model"):
            load_checkpoint(path, model, optimizers)


def test_a_checkpoint_of_another_model_is_said_in_one_line(tmp_path: Path) -> None:
    model, optimizers = trainer("adam")
    save_checkpoint(tmp_path / "c", model, optimizers, COUNTERS)
    other = nn.Linear(4, 3)
    with pytest.raises(RunError, match="of another model") as caught:
        load_checkpoint(tmp_path / "c", other, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tensors, metadata",
    [
        ({}, None),
        ({}, {"counters": "{"}),
        ({"optimizer.flow.first.step": torch.zeros(())}, {"counters": "{}"}),
    ],
)
def test_a_safetensors_file_that_is_no_checkpoint_is_said(tmp_path: Path, tensors: dict, metadata: dict | None) -> None:
    model, optimizers = trainer("adam")
    own = {f"model.{name}": value for name, value in model.state_dict().items()}
    (tmp_path / "c").write_bytes(safetensors.torch.save({**own, **tensors}, metadata=metadata))
    with pytest.raises(RunError, match="is damaged or of another model"):
        load_checkpoint(tmp_path / "c", model, optimizers)


def test_a_missing_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is damaged"):
        load_checkpoint(tmp_path / "c", Model(), {})


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "c"
    model, optimizers = trainer("adam")
    save_checkpoint(path, model, optimizers, {"epoch": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DiskFullError, match="everything written before is intact"):
        save_checkpoint(path, model, optimizers, {"epoch": 2})
    assert load_checkpoint(path, model, optimizers).counters == {"epoch": 1}
    assert {file.name for file in path.parent.iterdir()} == {"c", "c.previous"}


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    model, optimizers = trainer("adam")
    save_checkpoint(path, model, optimizers, {"epoch": 1})
    former = {name: value.clone() for name, value in model.state_dict().items()}
    steps(model, optimizers, 0, 3)
    save_checkpoint(path, model, optimizers, {"epoch": 2})
    whole = path.read_bytes()
    for position in range(0, len(whole), 61):  # a flipped bit anywhere: header, counters, weights, optimiser
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        resumed, fresh = trainer("adam", seed=1)
        assert load_checkpoint(path, resumed, fresh) == ({"epoch": 1}, True), position
        assert all(torch.equal(resumed.state_dict()[name], value) for name, value in former.items())
    path.write_bytes(whole)
    assert load_checkpoint(path, model, optimizers) == ({"epoch": 2}, False)


def test_where_there_are_no_links_the_previous_one_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("altub.training.checkpoint.os.link", refuse)
    path = tmp_path / "state.safetensors"
    model, optimizers = trainer("sgd")
    for epoch in (1, 2, 3):
        save_checkpoint(path, model, optimizers, {"epoch": epoch})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state.previous.safetensors", "state.safetensors"]
    path.write_bytes(b"")
    assert load_checkpoint(path, model, optimizers) == ({"epoch": 2}, True)


def test_a_loaded_checkpoint_does_not_depend_on_its_file(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    model, optimizers = trainer("adam")
    steps(model, optimizers, 0, 3)
    save_checkpoint(path, model, optimizers, COUNTERS)
    resumed, fresh = trainer("adam", seed=1)
    load_checkpoint(path, resumed, fresh)
    with path.open("r+b") as file:  # in place, as an editor or a copy does
        file.write(b"\xff" * path.stat().st_size)
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in model.state_dict().items())
