"""base_history.npz: the mean and log standard deviation of every head's base, epoch by epoch."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BytesIO
from math import prod
from pathlib import Path
from tokenize import TokenError
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy

from altub.files import write_atomically

__all__ = ["read_base_history", "write_base_history"]

# What zipfile and numpy raise for a file that is cut off, changed or no such file; RuntimeError is a password.
_DAMAGED = (
    *(OSError, EOFError, BadZipFile, KeyError, ValueError, TypeError, AttributeError, OverflowError),
    *(RuntimeError, SyntaxError, TokenError, MemoryError, struct.error),
)


def read_base_history(file: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per head (mean, log_std), each float32 (epochs + 1, C); row 0 is the start. Empty if missing or damaged."""
    try:
        with ZipFile(file) as archive:
            heads = len(archive.namelist()) // 2
            history = [
                (_read_array(archive, f"head{k}_mean.npy"), _read_array(archive, f"head{k}_log_std.npy"))
                for k in range(heads)
            ]
    except _DAMAGED:
        return []
    return history if all(mean.shape == log_std.shape for mean, log_std in history) else []


def _read_array(archive: ZipFile, name: str) -> np.ndarray:
    """A member as float32 (epochs + 1, C). It takes no more memory than the file has bytes, whatever its header says.

    Raises:
        ValueError: it is compressed, which we never write, or no such array; and whatever else is in `_DAMAGED`.
    """
    if archive.getinfo(name).compress_type != ZIP_STORED:
        raise ValueError("it is compressed")
    content = BytesIO(archive.read(name))
    if npy.read_magic(content) != (1, 0):
        raise ValueError("it is of another format")
    shape, by_column, kind = npy.read_array_header_1_0(content)
    values = content.read()
    if kind != np.float32 or by_column or len(shape) != 2 or prod(shape) * kind.itemsize != len(values):
        raise ValueError("it is no array of float32 (epochs + 1, C)")
    return np.frombuffer(values, kind).reshape(shape).copy()


def write_base_history(file: Path, history: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Replaces the file by what `read_base_history` returns."""
    arrays = {}
    for k, (mean, log_std) in enumerate(history):
        arrays[f"head{k}_mean"], arrays[f"head{k}_log_std"] = mean, log_std
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(file, buffer.getvalue())
