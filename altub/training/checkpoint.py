"""Everything exact resume needs, as one safetensors file: weights, optimiser state and counters. Nothing is pickled.

The file carries a checksum of its content, and the checkpoint before it is kept beside it: where the newest one is
damaged, training goes on from the former instead of from the start.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from altub.errors import RunError
from altub.files import explain_full_disk, read_bytes, write_atomically
from altub.inference.model_files import read_header

__all__ = ["Restored", "load_checkpoint", "previous_checkpoint", "save_checkpoint"]

_COUNTERS = "counters"  # key of the JSON in the file's header
_SHA256 = "sha256"  # key within it
_OPTIMIZER = "optimizer."
LARGEST = 64 << 30  # bytes; a larger file is not one of ours


class Restored(NamedTuple):
    """Counters of a checkpoint, and whether they are those of the one before the newest, which is damaged."""

    counters: dict[str, Any]
    is_previous: bool


class _DamagedError(Exception):
    """Why a file cannot be used, in words."""


def previous_checkpoint(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(
    path: Path, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer], counters: dict[str, Any]
) -> None:
    """Writes weights, optimiser states and JSON-able `counters` to `path` in one step, keeping what was there.

    Raises:
        DiskFullError: no room; the checkpoint at `path` is untouched.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                if value is not None:  # SGD without momentum keeps an empty slot
                    tensors[f"{_OPTIMIZER}{name}.{index}.{key}"] = torch.as_tensor(value)
    tensors = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    # One entry: the order of several differs from file to file.
    header = json.dumps({**counters, _SHA256: _checksum(tensors, counters)})
    content = safetensors.torch.save(tensors, metadata={_COUNTERS: header})
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _keep(path)
    write_atomically(path, content)


def load_checkpoint(path: Path, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]) -> Restored:
    """Puts `model` and `optimizers` where `save_checkpoint` found them; gives the counters back.

    Raises:
        RunError: neither the file nor the one before it can be used: damaged, or of another model.
    """
    try:
        return Restored(_load(path, model, optimizers), False)
    except _DamagedError as error:
        with suppress(_DamagedError):
            return Restored(_load(previous_checkpoint(path), model, optimizers), True)
        raise RunError(
            f"The checkpoint {path} is damaged or of another model ({error}). Start a new run in another directory."
        ) from error


def _load(path: Path, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise _DamagedError("it is far too large")
        content = read_bytes(path)  # not mapped: what lies in memory stays as it was checked
        tensors = safetensors.torch.load(content)
        counters = json.loads(read_header(content)["__metadata__"][_COUNTERS])
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _DamagedError(_reason(error)) from error
    if not isinstance(counters, dict):
        raise _DamagedError("it has no counters")
    known = counters.pop(_SHA256, None)  # files of version 0.1.0 have none
    if known is not None and known != _checksum(tensors, counters):
        raise _DamagedError("its checksum is not that of its content")
    try:
        states = {
            name: {**optimizer.state_dict(), "state": _optimizer_state(tensors, name)}
            for name, optimizer in optimizers.items()
        }
        weights = {name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")}
        model.load_state_dict(weights)
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(states[name])
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        raise _DamagedError(_reason(error)) from error
    return counters


def _keep(path: Path) -> None:
    """The checkpoint at `path` also becomes the previous one; a link where the file system has them."""
    if not path.exists():
        return
    previous = previous_checkpoint(path)
    temporary = previous.with_name(f"{previous.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:
        previous.unlink(missing_ok=True)  # two of them at most take room
        shutil.copyfile(path, temporary)
    os.replace(temporary, previous)


def _checksum(tensors: Mapping[str, Tensor], counters: dict[str, Any]) -> str:
    """SHA-256 over the counters and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(counters).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(":. ")  # torch lists every parameter


def _optimizer_state(tensors: dict[str, Tensor], name: str) -> dict[int, dict[str, Tensor]]:
    prefix = f"{_OPTIMIZER}{name}."
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            index, _, slot = key.removeprefix(prefix).partition(".")
            states.setdefault(int(index), {})[slot] = value
    return states
