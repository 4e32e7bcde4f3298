"""What an image may be given as, and its bytes as a file to read from."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from altub.errors import ImageError
from altub.files import open_regular, printable

__all__ = ["Encoded", "ImageSource", "open_encoded"]

#: What an image may be given as: a path, encoded bytes, a Pillow image or an array (H, W[, C]).
ImageSource = str | Path | bytes | Image.Image | np.ndarray

_UPLOAD = "The uploaded file"


@dataclass(frozen=True)
class Encoded:
    """The bytes of an image file.

    Attributes:
        name: to use in messages.
        file: can seek.
        size: in bytes.
        path: where it came from, if from a path.
    """

    name: str
    file: BinaryIO
    size: int
    path: Path | None = None


@contextmanager
def open_encoded(source: str | Path | bytes | BinaryIO) -> Iterator[Encoded]:
    """The file behind a path, bytes or an open file, which is then left where it was.

    Raises:
        ImageError: it is not there, is no regular file, or is empty.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield _checked(_UPLOAD, io.BytesIO(source))
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        with _open_regular(path) as file:
            yield _checked(printable(path.name), file, path)
    else:
        given = getattr(source, "name", None)
        name = printable(Path(given).name) if isinstance(given, str) and given else _UPLOAD
        if source.seekable():
            source.seek(0)
            yield _checked(name, source)
        else:
            yield _checked(name, io.BytesIO(source.read()))


def _open_regular(path: Path) -> BinaryIO:
    """A regular file, opened such that a pipe or a device of this name is not waited for."""
    shown = printable(str(path))
    try:
        return open_regular(path)
    except FileNotFoundError as error:
        raise ImageError(f"{shown} does not exist: check the path.") from error
    except (IsADirectoryError, PermissionError) as error:
        if path.is_dir():  # Windows says so by a PermissionError
            raise ImageError(f"{shown} is a folder, not an image file.") from error
        raise ImageError(
            f"{printable(path.name)} cannot be opened: permission denied. Check the file's permissions."
        ) from error
    except (OSError, ValueError) as error:  # a pipe, socket or device, a name that no file can have
        if isinstance(error, OSError) and error.errno == errno.EINVAL:
            raise ImageError(f"{shown} is a pipe, socket or device, not an image file.") from error
        raise ImageError(f"{shown} cannot be opened as a file: give an image file.") from error


def _checked(name: str, file: BinaryIO, path: Path | None = None) -> Encoded:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise ImageError(f"{name} is empty (0 bytes): copy or upload it again.")
    file.seek(0)
    return Encoded(name, file, size, path)
