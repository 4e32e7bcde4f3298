"""The inspection log: what models said of images on a line. Rows are removed by retention, never changed."""

from __future__ import annotations

__all__ = ["STATEMENTS"]

STATEMENTS = (
    # source and number: who inspected (a watched folder's journal, the page), and its own count; together never twice.
    """CREATE TABLE inspections (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        source TEXT NOT NULL,
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        sha256 TEXT,
        model TEXT NOT NULL,
        version INTEGER,
        verdict TEXT NOT NULL,
        score REAL,
        p_value REAL,
        threshold REAL,
        reason TEXT NOT NULL,
        at REAL NOT NULL,
        UNIQUE (source, number)
    )""",
    "CREATE INDEX inspections_at ON inspections (at)",
    "CREATE INDEX inspections_image ON inspections (sha256, at)",
    """CREATE TRIGGER inspections_no_update BEFORE UPDATE ON inspections
        BEGIN SELECT RAISE(ABORT, 'inspections are never changed'); END""",
)
