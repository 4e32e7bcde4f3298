"""Numbered steps that bring a label database from any earlier version to this one; `m001_...` is the first.

Each step is a module with `STATEMENTS`, SQL that runs in one transaction together with the record that it ran. A step
that was released is never changed: the next change is the next number.
"""

from __future__ import annotations

import sqlite3
import time
from types import ModuleType

from altub.errors import LabelError
from altub.labels.migrations import m001_store, m002_inspections, m003_drift

__all__ = ["MIGRATIONS", "migrate"]

MIGRATIONS: tuple[ModuleType, ...] = (m001_store, m002_inspections, m003_drift)
_RECORDS = "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, at REAL NOT NULL)"


def migrate(connection: sqlite3.Connection, migrations: tuple[ModuleType, ...] = MIGRATIONS) -> None:
    """Runs the steps that the database has not seen; several processes may ask at the same time.

    Raises:
        LabelError: a newer version of AltUB wrote the database.
    """
    while (number := _applied(connection)) < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _applied(connection) == number:  # else another process was first
                step = migrations[number]
                connection.execute(_RECORDS)
                for statement in step.STATEMENTS:
                    connection.execute(statement)
                name = step.__name__.rpartition(".")[2]
                connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (number + 1, name, time.time()))
            connection.execute("COMMIT")
        except BaseException:  # also on Ctrl+C: a step is there with its record or not at all
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    if number > len(migrations):
        raise LabelError(
            f"The label database has version {number}, newer than the {len(migrations)} that this AltUB knows: "
            "update AltUB."
        )


def _applied(connection: sqlite3.Connection) -> int:
    """Number of the last step that ran."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchone() is None:
        return 0
    return connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()[0]
