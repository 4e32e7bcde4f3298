"""The SQLite file under the label store: connections, transactions, and its errors in words.

The file is in WAL mode, so that readers and a writer do not wait for each other, and every commit is synchronised to
the disk: what a transaction wrote is there whole after a kill or a power cut, or not at all. Several threads and
processes may use the same file; a writer waits for the one before it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from altub.errors import DiskFullError, LabelError
from altub.files import explain_full_disk
from altub.labels.migrations import migrate

__all__ = ["Database", "SqliteFile", "explained"]

WAIT_SECONDS = 30  # for another writer


class SqliteFile:
    """Connections to one SQLite file, each thread's own, and transactions over them.

    Args:
        path: the file; missing folders are made.

    Raises:
        DiskFullError: no room for the folders.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        with explain_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this thread; a forked process opens its own."""
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.connection, self._local.pid = self._connect(), os.getpid()
        return self._local.connection

    def _connect(self) -> sqlite3.Connection:
        # isolation_level=None: transactions begin and end where `write` says so, not where the driver guesses.
        connection = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
        connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block or, on any error, nothing. Inside of another one it is a part of that."""
        connection = self.connection
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:  # also on Ctrl+C: nothing of the block stays
            if connection.in_transaction:  # SQLite itself rolls back on a full disk
                connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Closes this thread's connection; the next use opens another one."""
        if getattr(self._local, "pid", None) == os.getpid():
            self._local.connection.close()
            self._local.pid = None


class Database(SqliteFile):
    """The label store's file, made and brought up to date when it is opened.

    Args:
        path: the file; missing folders are made.

    Raises:
        LabelError: damaged, no database, or of a newer version of AltUB.
        DiskFullError: no room.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with explained(path):
            migrate(self.connection)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """See `SqliteFile.write`.

        Raises:
            LabelError: another writer did not end, or the file is damaged.
            DiskFullError: no room; everything written before is intact.
        """
        with explained(self.path), super().write() as connection:
            yield connection

    def rows(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with explained(self.path):
            return self.connection.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        with explained(self.path):
            return self.connection.execute(sql, values).fetchone()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what SQLite reports of the file's state into a sentence; mistakes in our own statements stay what they are.

    Raises:
        LabelError, DiskFullError: see the sentences.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        problem = None if code is None else _PROBLEMS.get(code & 0xFF)  # the higher bits say more of the same
        if problem is None:
            raise
        kind, sentence = problem
        raise kind(sentence.format(path=path, name=path.name, folder=path.parent)) from error


_DAMAGED = "{path} is damaged or is no label database. Run `altub labels check`, and restore the latest backup."
_PROBLEMS: dict[int, tuple[type[Exception], str]] = {
    sqlite3.SQLITE_FULL: (
        DiskFullError,
        "The disk is full: {name} could not be written to {folder}. Free some space there; every label before is "
        "intact.",
    ),
    sqlite3.SQLITE_IOERR: (
        DiskFullError,
        "{path} could not be read or written: the disk is full or failing. Free some space there and try again; every "
        "label before is intact.",
    ),
    sqlite3.SQLITE_BUSY: (LabelError, "{path} is in use by another program that does not end its change. Try again."),
    sqlite3.SQLITE_READONLY: (LabelError, "{path} cannot be written: permission denied. Set ALTUB_DB to another file."),
    sqlite3.SQLITE_CANTOPEN: (LabelError, "{path} cannot be opened: check the path and its permissions."),
    sqlite3.SQLITE_CORRUPT: (LabelError, _DAMAGED),
    sqlite3.SQLITE_NOTADB: (LabelError, _DAMAGED),
}
