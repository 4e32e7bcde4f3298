"""A backup of a label store in one file, and the check that a store is whole."""

from __future__ import annotations

import sqlite3
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from altub.errors import LabelError
from altub.files import explain_full_disk, replacing
from altub.labels.database import explained
from altub.labels.store import LabelStore, files_folder

__all__ = ["Findings", "back_up", "check"]

Progress = Callable[[int, int], None]  # files done, all files

_NAMED = {  # what names a file -> its SHA-256 in the rows
    "the image {}": "SELECT sha256, name FROM images",
    "a map of {}": "SELECT p.map, i.name FROM proposals AS p JOIN images AS i ON i.id = p.image",
    "a mask of {}": "SELECT e.mask, i.name FROM events AS e JOIN images AS i ON i.id = e.image WHERE e.mask NOT NULL",
}


def back_up(store: LabelStore, path: str | Path, *, progress: Progress | None = None) -> int:
    """Writes the database as it is at one moment, and every file that it names, to a zip archive.

    Others may go on labelling meanwhile. Unpacked into an empty folder, the archive is a label store: set `ALTUB_DB` to
    its database, or unpack it in the data root.

    Args:
        path: the archive; one that is there is replaced when the new one is complete.

    Returns:
        The number of files beside the database.

    Raises:
        LabelError: a file that the database names is missing.
        DiskFullError: no room; an earlier archive is as it was.
    """
    path, folder = Path(path), files_folder(Path(store.path.name))
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with explain_full_disk(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".labels-") as temporary:
        snapshot = Path(temporary) / store.path.name
        with explained(snapshot), closing(sqlite3.connect(snapshot)) as copy:
            store.db.connection.backup(copy)  # SQLite's own online backup: one moment, also while others write
            named = sorted({row[0] for query in _NAMED.values() for row in copy.execute(query)})
        # Stored, not packed: the files are compressed images already.
        with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
            archive.write(snapshot, store.path.name)
            for done, sha256 in enumerate(named, start=1):
                archive.writestr((folder / sha256[:2] / sha256[2:]).as_posix(), store.objects.read(sha256))
                if progress is not None:
                    progress(done, len(named))
    return len(named)


@dataclass(frozen=True)
class Findings:
    """What `check` found.

    Attributes:
        problems: sentences; none where the store is whole.
        files: number of files that the database names.
        unused: number of files that nothing names, left by a process that was killed; they do no harm.
    """

    problems: tuple[str, ...]
    files: int
    unused: int


def check(store: LabelStore, *, progress: Progress | None = None) -> Findings:
    """Reads the whole database and every file: is all there, and with the content that it had?"""
    problems = []
    try:
        for (line,) in store.db.rows("PRAGMA integrity_check"):
            if line != "ok":
                problems.append(f"The database is damaged: {line}.")
        for row in store.db.rows("PRAGMA foreign_key_check"):
            problems.append(f"The database is damaged: a row of {row[0]} names one of {row[2]} that is not there.")
        named = {row[0]: what.format(row[1]) for what, query in _NAMED.items() for row in store.db.rows(query)}
    except LabelError as error:
        return Findings((*problems, str(error)), 0, 0)
    for done, (sha256, what) in enumerate(named.items(), start=1):
        if not store.objects.is_intact(sha256):
            state = "damaged" if store.objects.path(sha256).is_file() else "missing"
            problems.append(f"The file of {what} is {state}: {store.objects.path(sha256)}. Restore it from a backup.")
        if progress is not None:
            progress(done, len(named))
    return Findings(tuple(problems), len(named), sum(sha256 not in named for sha256 in store.objects))
