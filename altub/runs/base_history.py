"""base_history.npz: the mean and log standard deviation of every head's base, epoch by epoch."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from altub.files import write_atomically

__all__ = ["read_base_history", "write_base_history"]


def read_base_history(file: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per head (mean, log_std), each float32 (epochs + 1, C); row 0 is the start. Empty if missing or damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            heads = len(arrays.files) // 2
            return [(arrays[f"head{k}_mean"], arrays[f"head{k}_log_std"]) for k in range(heads)]
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, BadZipFile, zlib.error):
        return []  # not there yet, cut off, or with a checksum that does not fit


def write_base_history(file: Path, history: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Replaces the file by what `read_base_history` returns."""
    arrays = {}
    for k, (mean, log_std) in enumerate(history):
        arrays[f"head{k}_mean"], arrays[f"head{k}_log_std"] = mean, log_std
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(file, buffer.getvalue())
