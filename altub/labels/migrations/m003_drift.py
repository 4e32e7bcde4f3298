"""What a drift watch needs of the inspection log: numbers of each image, and since when a model's line is watched."""

from __future__ import annotations

__all__ = ["STATEMENTS"]

STATEMENTS = (
    "ALTER TABLE inspections ADD COLUMN statistics TEXT",  # JSON: brightness and the like; NULL where there are none
    "CREATE INDEX inspections_model ON inspections (model, id)",
    # A person looked after an alarm: the watch over this model's images begins anew behind this row.
    "CREATE TABLE drift_starts (model TEXT PRIMARY KEY, row INTEGER NOT NULL, at REAL NOT NULL)",
)
