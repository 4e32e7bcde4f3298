"""Images, proposals of models, label events, showings, random draws and leases."""

from __future__ import annotations

__all__ = ["STATEMENTS"]


def _append_only(table: str) -> tuple[str, ...]:
    return tuple(
        f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} are only ever appended'); END"
        for change in ("UPDATE", "DELETE")
    )


STATEMENTS = (
    # sha256: of the original bytes, which lie in the content-addressed folder. inclusion: probability with which an
    # image of the production was put into the store. ticket: uniform in [0, 1), drawn once.
    # colours: 8 x 8 RGB, for finding images that differ.
    """CREATE TABLE images (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        sha256 TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        suffix TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        source TEXT NOT NULL,
        inclusion REAL NOT NULL CHECK (inclusion > 0 AND inclusion <= 1),
        ticket REAL NOT NULL,
        colours BLOB NOT NULL,
        at REAL NOT NULL
    )""",
    "CREATE INDEX images_source ON images (source)",
    # What a model says of an image; map: SHA-256 of a compact file.
    """CREATE TABLE proposals (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        image INTEGER NOT NULL REFERENCES images,
        model TEXT NOT NULL,
        score REAL NOT NULL,
        p_value REAL NOT NULL,
        peak REAL NOT NULL,
        map TEXT NOT NULL,
        at REAL NOT NULL,
        UNIQUE (model, image)
    )""",
    "CREATE INDEX proposals_image ON proposals (image)",
    # Every time that an image was shown to be labelled. probability: with which this image was chosen out of so many
    # candidates; NULL where it was asked for by hand.
    """CREATE TABLE showings (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        image INTEGER NOT NULL REFERENCES images,
        who TEXT NOT NULL,
        reason TEXT NOT NULL,
        probability REAL,
        candidates INTEGER,
        scope TEXT NOT NULL,
        model TEXT,
        at REAL NOT NULL
    )""",
    "CREATE INDEX showings_image ON showings (image)",
    *_append_only("showings"),
    # Uniform draws without replacement from all images of a scope, labelled before or not, in their order.
    """CREATE TABLE draws (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        scope TEXT NOT NULL,
        image INTEGER NOT NULL REFERENCES images,
        at REAL NOT NULL,
        UNIQUE (scope, image)
    )""",
    *_append_only("draws"),
    # verdict is NULL for an undo, which names the event that it undoes; mask: SHA-256 of a PNG.
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        image INTEGER NOT NULL REFERENCES images,
        who TEXT NOT NULL,
        verdict TEXT CHECK (verdict IN ('good', 'defect', 'unsure')),
        defect_type TEXT,
        mask TEXT,
        note TEXT NOT NULL,
        proposal INTEGER REFERENCES proposals,
        showing INTEGER REFERENCES showings,
        undoes INTEGER UNIQUE REFERENCES events,
        at REAL NOT NULL,
        CHECK ((verdict IS NULL) = (undoes IS NOT NULL)),
        CHECK ((coalesce(verdict, '') = 'defect') = (defect_type IS NOT NULL)),
        CHECK (mask IS NULL OR verdict = 'defect')
    )""",
    "CREATE INDEX events_image ON events (image, id)",
    *_append_only("events"),
    """CREATE VIEW standing AS
        SELECT * FROM events WHERE verdict IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM events AS undo WHERE undo.undoes = events.id)""",
    """CREATE TABLE leases (
        image INTEGER PRIMARY KEY REFERENCES images,
        who TEXT NOT NULL,
        until REAL NOT NULL
    )""",
)
