"""base_history.npz: the mean and log standard deviation of every head's base, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from altub.data.npz import read_npz
from altub.files import write_atomically

__all__ = ["read_base_history", "write_base_history"]

MOST_ARRAYS = 200  # two a head


def read_base_history(file: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per head (mean, log_std), each float32 (epochs + 1, C); row 0 is the start. Empty if missing or damaged."""
    try:
        arrays = read_npz(file, most_arrays=MOST_ARRAYS)
        history = [(arrays[f"head{k}_mean"], arrays[f"head{k}_log_std"]) for k in range(len(arrays) // 2)]
    except (OSError, ValueError, KeyError):
        return []
    sound = all(_is_table(mean) and _is_table(log_std) and mean.shape == log_std.shape for mean, log_std in history)
    return history if sound else []


def _is_table(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.dtype == np.float32


def write_base_history(file: Path, history: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Replaces the file by what `read_base_history` returns."""
    arrays = {}
    for k, (mean, log_std) in enumerate(history):
        arrays[f"head{k}_mean"], arrays[f"head{k}_log_std"] = mean, log_std
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(file, buffer.getvalue())
