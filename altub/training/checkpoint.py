"""Everything exact resume needs, as one safetensors file: weights, optimiser state and counters. Nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from altub.errors import RunError
from altub.files import explain_full_disk, write_atomically

__all__ = ["load_checkpoint", "save_checkpoint"]

_COUNTERS = "counters"  # key of the JSON in the file's header
_OPTIMIZER = "optimizer."


def save_checkpoint(
    path: Path, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer], counters: dict[str, Any]
) -> None:
    """Writes weights, optimiser states and JSON-able `counters` to `path` in one step.

    Raises:
        DiskFullError: no room; the previous checkpoint is untouched.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                if value is not None:  # SGD without momentum keeps an empty slot
                    tensors[f"{_OPTIMIZER}{name}.{index}.{key}"] = torch.as_tensor(value)
    tensors = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, safetensors.torch.save(tensors, metadata={_COUNTERS: json.dumps(counters)}))


def load_checkpoint(path: Path, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Any]:
    """Puts `model` and `optimizers` where `save_checkpoint` found them; gives the counters back.

    Raises:
        RunError: the file is damaged or does not belong to this model.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            counters = json.loads(file.metadata()[_COUNTERS])
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model.load_state_dict(
            {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        )
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict({**optimizer.state_dict(), "state": _optimizer_state(tensors, name)})
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), "").rstrip(":. ")  # torch lists every parameter, a line each
        raise RunError(
            f"The checkpoint {path} is damaged or of another model ({reason}). Start a new run in another directory."
        ) from error
    return counters


def _optimizer_state(tensors: dict[str, Tensor], name: str) -> dict[int, dict[str, Tensor]]:
    prefix = f"{_OPTIMIZER}{name}."
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            index, _, slot = key.removeprefix(prefix).partition(".")
            states.setdefault(int(index), {})[slot] = value
    return states
