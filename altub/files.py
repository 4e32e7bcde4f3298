"""Files are written atomically: a reader never sees half of one, and a full disk leaves the old one in place."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from altub.errors import AltUBError, DiskFullError

__all__ = [
    "PACKAGE",
    "explain_full_disk",
    "open_regular",
    "printable",
    "read_bytes",
    "read_json",
    "replacing",
    "write_atomically",
    "write_json",
]

PACKAGE = Path(__file__).resolve().parent  # of the code; its parent is on the import path

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turns "no space left" and "not allowed to write" inside the block into a sentence; other errors pass.

    Raises:
        DiskFullError: no room.
        AltUBError: this user may not write there.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise DiskFullError(
                f"The disk is full: {path.name} could not be written to {path.parent}. "
                "Free some space there; everything written before is intact."
            ) from error
        if error.errno in _NOT_ALLOWED:
            raise AltUBError(
                f"{path} cannot be written: permission denied, or the disk is read-only. Choose another folder."
            ) from error
        raise


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to, which replaces `path` in one step when the block ends without an error.

    Raises:
        DiskFullError: no room; `path` is as it was.
        AltUBError: this user may not write there.
    """
    with explain_full_disk(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)  # mkstemp makes it private; other users may read a run
            os.replace(name, path)
        except BaseException:  # also on Ctrl+C: the half-written file is removed
            with suppress(OSError):
                os.unlink(name)
            raise


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` by `content` in one step; errors as in `replacing`."""
    with replacing(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """`write_atomically` of `value` as readable JSON; NaN and infinities are refused."""
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def open_regular(path: Path) -> BinaryIO:
    """A regular file to read from; a pipe or a device of this name is refused and not waited for.

    Raises:
        OSError: there is no such file, it cannot be read, or it is none: IsADirectoryError for a folder.
        ValueError: no file can have this name.
    """
    # O_NONBLOCK: opening a pipe would wait for its writer. It has no effect on a regular file.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is a pipe, socket or device", str(path))


def read_bytes(path: Path) -> bytes:
    """All of a regular file; errors as in `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def read_json(path: Path) -> Any:
    """The value that `write_json` wrote.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is no JSON, no UTF-8, or nested too deeply.
    """
    try:
        return json.loads(read_bytes(path).decode())
    except RecursionError:  # a file may come from elsewhere
        raise ValueError("it is nested too deeply") from None


def printable(text: str) -> str:
    """Text without what stands for the undecodable bytes of a file name: it can be printed and written as UTF-8."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)
