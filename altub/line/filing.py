"""Where the files of a watched folder go once they have a verdict: each step can be done again after a kill."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from altub.files import explain_full_disk
from altub.line.journal import Arrival, Entry

__all__ = ["FILING", "Filing", "file_away", "target_of"]

Filing = Literal["leave", "move", "copy"]
FILING: tuple[Filing, ...] = get_args(Filing)


def target_of(name: str, verdict: str) -> str:
    """Where a file goes, relative to the output folder: a folder for each verdict."""
    return f"{verdict.replace(' ', '-')}/{Path(name).name}"


def file_away(entry: Entry, folder: Path, output: Path, how: Filing) -> None:
    """Moves or copies the file of an entry to its target, unless it is there already or another one took its name.

    Raises:
        DiskFullError: no room; the file is where it was.
    """
    if entry.target is None:
        return
    source, target = folder / entry.name, output / entry.target
    if not Arrival(source, entry.name, entry.size, entry.modified).is_unchanged():
        return  # moved before a kill, taken away by somebody, or a new file of the same name
    with explain_full_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    if how == "move":
        try:
            os.replace(source, target)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:  # else another file system: copy, then remove
                raise
    _copy(source, target)
    if how == "move":
        with suppress(FileNotFoundError):
            source.unlink()


def _copy(source: Path, target: Path) -> None:
    with explain_full_disk(target):
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".copy-")
        os.close(handle)
        try:
            shutil.copy2(source, name)
            os.replace(name, target)
        except BaseException:  # also on Ctrl+C: nothing half-written stays
            with suppress(OSError):
                os.unlink(name)
            raise
