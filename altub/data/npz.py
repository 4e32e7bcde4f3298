"""npz files that may come from elsewhere: arrays of numbers, read within bounds."""

from __future__ import annotations

import struct
from io import BytesIO
from math import prod
from pathlib import Path
from tokenize import TokenError
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile
from zlib import error as zlib_error

import numpy as np
from numpy.lib import format as npy

from altub.files import open_regular

__all__ = ["read_npz"]

# What zipfile and numpy raise for a file that is cut off, changed or no such file; RuntimeError is a password.
_DAMAGED = (
    *(EOFError, BadZipFile, KeyError, ValueError, TypeError, AttributeError, OverflowError, NotImplementedError),
    *(RuntimeError, SyntaxError, TokenError, MemoryError, struct.error, zlib_error),
)
_SUFFIX = ".npy"
_HEADER_BYTES = 256  # of an array; numpy pads its own to 128
_NUMBERS = "biuf"  # kinds of dtype: no text, no objects


def read_npz(file: Path, *, most_bytes: int | None = None, most_arrays: int = 1000) -> dict[str, np.ndarray]:
    """The arrays in a file that `numpy.savez` or `numpy.savez_compressed` wrote, by name.

    Args:
        most_bytes: that the file may have, and that all arrays may take together as they are unpacked, whatever the
            file declares; default as many as the file has, which is enough where nothing is compressed.
        most_arrays: that it may hold.

    Raises:
        OSError: it is not there, or no regular file.
        ValueError: it is damaged, too large, or holds something else than arrays of numbers.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/a.npz", a=np.arange(3))
        ...     read_npz(Path(folder) / "a.npz")["a"].tolist()
        [0, 1, 2]
    """
    with open_regular(file) as stream:
        content = stream.read(-1 if most_bytes is None else most_bytes + 1)
    if most_bytes is None:
        most_bytes = len(content)
    elif len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    arrays = {}
    try:
        with ZipFile(BytesIO(content)) as archive:
            names = archive.namelist()
            if len(names) > most_arrays:
                raise ValueError(f"it holds more than {most_arrays:,} arrays")
            for name in names:
                arrays[name.removesuffix(_SUFFIX)] = array = _read_array(archive, name, most_bytes)
                most_bytes -= array.nbytes
    except _DAMAGED as error:
        raise ValueError(f"it is damaged ({type(error).__name__})") from error
    return arrays


def _read_array(archive: ZipFile, name: str, most_bytes: int) -> np.ndarray:
    if archive.getinfo(name).compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ValueError("it is compressed otherwise than numpy does")
    with archive.open(name) as member:
        content = BytesIO(member.read(most_bytes + _HEADER_BYTES + 1))
    if npy.read_magic(content) != (1, 0):
        raise ValueError("it is of another format")
    shape, by_column, kind = npy.read_array_header_1_0(content)
    values = content.read()
    if kind.kind not in _NUMBERS or by_column or prod(shape) * kind.itemsize != len(values) or len(values) > most_bytes:
        raise ValueError("its header does not fit its content")
    return np.frombuffer(values, kind).reshape(shape).copy()
