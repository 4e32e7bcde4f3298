"""The journal of a watched folder: which files were inspected, with what result, and what is still to be done.

One SQLite file in the output folder. A file's result is one row, written in one transaction; what follows from it (the
lines of the tables, the file's new place, the message to a webhook) is done afterwards, can be done again without harm,
and is marked as done. A program that is killed at any moment and started again therefore inspects no file twice.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altub.errors import RunError
from altub.labels.database import SqliteFile

__all__ = ["Arrival", "Entry", "Journal"]

VERSION = 2
_STATEMENTS = (
    """CREATE TABLE files (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        size INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        record TEXT NOT NULL,
        target TEXT UNIQUE,
        filed INTEGER NOT NULL DEFAULT 0,
        logged INTEGER NOT NULL DEFAULT 0,
        UNIQUE (name, size, modified)
    )""",
    "CREATE INDEX files_open ON files (id) WHERE filed = 0 OR logged = 0",
    # Messages that were not delivered yet.
    """CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        body TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        due REAL NOT NULL DEFAULT 0,
        problem TEXT
    )""",
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)
_CHANNELS = (  # from version 2 on: each receiver has messages of its own
    "ALTER TABLE outbox ADD COLUMN channel TEXT NOT NULL DEFAULT 'webhook'",
    "CREATE INDEX outbox_channel ON outbox (channel, id) WHERE problem IS NULL",
)


@dataclass(frozen=True)
class Arrival:
    """A file as it was found.

    Attributes:
        name: relative to the watched folder, with slashes.
        size: in bytes.
        modified: nanoseconds since 1970. Name, size and this time make a file; the same name with other ones is new.
    """

    path: Path
    name: str
    size: int
    modified: int

    def is_unchanged(self) -> bool:
        """Is the file still the one that was found?"""
        try:
            found = self.path.lstat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.size, self.modified)


@dataclass(frozen=True)
class Entry:
    """A row of the journal.

    Attributes:
        record: what is told of the file; its "id" is the row's number.
        target: where the file goes, relative to the output folder; None: it stays.
    """

    id: int
    name: str
    size: int
    modified: int
    record: dict[str, Any]
    target: str | None


class Journal(SqliteFile):
    """Opens a journal or makes one; each thread has a connection of its own.

    Args:
        path: the SQLite file.

    Raises:
        RunError: it is damaged, or of a newer version of AltUB.
        DiskFullError: no room.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise RunError(
                f"{path} cannot be used as a journal ({error}): move it away, or give another --output."
            ) from error
        self.name = self._rows("SELECT value FROM about WHERE name = 'name'")[0]["value"]

    def _prepare(self) -> None:
        with self.write() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise RunError(f"{self.path} was written by a newer version of AltUB: update AltUB.")
            if version == 0:
                for statement in _STATEMENTS:
                    connection.execute(statement)
                connection.execute("INSERT INTO about VALUES ('name', ?)", (uuid.uuid4().hex,))
            if version < VERSION:
                for statement in _CHANNELS:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        return self.connection.execute(sql, values).fetchall()

    def knows(self, arrival: Arrival) -> bool:
        """Was this file inspected?"""
        key = (arrival.name, arrival.size, arrival.modified)
        return bool(self._rows("SELECT 1 FROM files WHERE (name, size, modified) = (?, ?, ?)", key))

    def add(
        self, results: Sequence[tuple[Arrival, dict[str, Any], str | None]], *, channels: Sequence[str] = ()
    ) -> None:
        """Results of some files, all or none: (file, record, where it goes or None).

        Args:
            channels: of the outbox, which get each record as well.
        """
        with self.write() as connection:
            for arrival, record, target in results:
                row = connection.execute(
                    "INSERT INTO files (name, size, modified, record, filed) VALUES (?, ?, ?, '', ?) RETURNING id",
                    (arrival.name, arrival.size, arrival.modified, target is None),
                ).fetchone()
                told = json.dumps({"id": row["id"], **record})
                place = None if target is None else _free(connection, target, row["id"])
                connection.execute("UPDATE files SET record = ?, target = ? WHERE id = ?", (told, place, row["id"]))
                self.post({"event": "inspection", "id": row["id"], **record}, channels)

    def last(self) -> int:
        """The number of the last row; 0: there is none."""
        return self._rows("SELECT coalesce(max(id), 0) AS n FROM files")[0]["n"]

    def after(self, number: int, most: int = 500) -> list[Entry]:
        """The rows behind this number, the first `most` of them."""
        return [
            _entry(row) for row in self._rows("SELECT * FROM files WHERE id > ? ORDER BY id LIMIT ?", (number, most))
        ]

    def to_file(self, most: int = 500) -> list[Entry]:
        """Rows whose file has not gone to its place."""
        return [_entry(row) for row in self._rows("SELECT * FROM files WHERE filed = 0 ORDER BY id LIMIT ?", (most,))]

    def to_log(self, most: int = 500) -> list[Entry]:
        """Rows that are not in the inspection log."""
        return [_entry(row) for row in self._rows("SELECT * FROM files WHERE logged = 0 ORDER BY id LIMIT ?", (most,))]

    def mark(self, what: str, entries: Sequence[Entry]) -> None:
        """Notes that rows are "filed" or "logged"."""
        column = {"filed": "filed", "logged": "logged"}[what]
        with self.write() as connection:
            connection.executemany(f"UPDATE files SET {column} = 1 WHERE id = ?", [(entry.id,) for entry in entries])

    def newest(self, most: int) -> list[Entry]:
        """The last rows, the newest first."""
        return [_entry(row) for row in self._rows("SELECT * FROM files ORDER BY id DESC LIMIT ?", (most,))]

    def counts(self, after: int = 0, upto: int | None = None) -> dict[str, int]:
        """Number of files by verdict, of the rows behind a number and up to another one."""
        sql = "SELECT json_extract(record, '$.verdict') AS verdict, count(*) AS n FROM files "
        rows = self._rows(sql + "WHERE id > ? AND id <= coalesce(?, id) GROUP BY 1", (after, upto))
        return {row["verdict"]: row["n"] for row in rows}

    # Messages.

    def post(self, body: dict[str, Any], channels: Sequence[str] = ("webhook",)) -> None:
        """A message for each of these channels of the outbox."""
        text = json.dumps({**body, "journal": self.name})
        with self.write() as connection:
            rows = [(text, channel) for channel in channels]
            connection.executemany("INSERT INTO outbox (body, channel) VALUES (?, ?)", rows)

    def due(self, channel: str = "webhook") -> tuple[int, str, int] | None:
        """A channel's oldest message, if it may be sent now: (number, body, attempts). Later ones wait for it."""
        sql = "SELECT id, body, attempts, due FROM outbox WHERE problem IS NULL AND channel = ? ORDER BY id LIMIT 1"
        rows = self._rows(sql, (channel,))
        if not rows or rows[0]["due"] > time.time():
            return None
        return rows[0]["id"], rows[0]["body"], rows[0]["attempts"]

    def delivered(self, number: int) -> None:
        with self.write() as connection:
            connection.execute("DELETE FROM outbox WHERE id = ?", (number,))

    def postpone(self, number: int, seconds: float) -> None:
        """Another attempt after so many seconds."""
        with self.write() as connection:
            sql = "UPDATE outbox SET attempts = attempts + 1, due = ? WHERE id = ?"
            connection.execute(sql, (time.time() + seconds, number))

    def give_up(self, number: int, problem: str) -> None:
        """Keeps a message that the receiver refuses, with the reason, and sends it no more."""
        with self.write() as connection:
            connection.execute("UPDATE outbox SET problem = ? WHERE id = ?", (problem, number))

    def waiting(self, channel: str | None = None) -> int:
        """Messages that are still to be delivered, of a channel or of all."""
        sql = "SELECT count(*) AS n FROM outbox WHERE problem IS NULL AND channel = coalesce(?, channel)"
        return self._rows(sql, (channel,))[0]["n"]


def _free(connection: sqlite3.Connection, target: str, number: int) -> str:
    """The target, with the row's number where an earlier file has that name."""
    if connection.execute("SELECT 1 FROM files WHERE target = ?", (target,)).fetchone() is None:
        return target
    path = Path(target)
    return path.with_name(f"{path.stem}-{number}{path.suffix}").as_posix()


def _entry(row: sqlite3.Row) -> Entry:
    values = {name: row[name] for name in ("id", "name", "size", "modified", "target")}
    return Entry(record=json.loads(row["record"]), **values)
