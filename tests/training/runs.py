"""Runs trained from end to end, and what two of them have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch

from altub.inference.model_files import WEIGHTS_FILE
from altub.runs.run import Run
from altub.training.config import TrainingConfig, make_config
from altub.training.loop import train


def variant(config: TrainingConfig, **settings) -> TrainingConfig:
    return make_config(**{**config.model_dump(), **settings})


def run_through(folder: Path, config: TrainingConfig, **options) -> Run:
    run = Run.create(folder, config)
    for _ in train(run, **options):
        pass
    return run


def weights(run: Run) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run.model_dir / WEIGHTS_FILE)


def assert_same_weights(a: Run, b: Run) -> None:
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), f"{name} differs"


def stop_after(steps: int) -> Callable[[], bool]:
    """A should_stop that says yes once it was asked so often."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= steps
