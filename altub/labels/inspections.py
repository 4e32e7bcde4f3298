"""The inspection log: each inspected image's verdict, score, model and time, in the label store's database.

    log = InspectionLog()
    log.of_image(sha256)                 what was ever said of an image
    log.days()                           verdicts by day
    log.forget(older_than=time.time() - 90 * 86400)

Images themselves are not kept.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from altub import settings
from altub.files import explain_full_disk
from altub.inference.table import as_cell
from altub.labels.database import Database

__all__ = ["Inspection", "InspectionLog"]

PAGE = 1000  # rows read at a time


@dataclass(frozen=True)
class Inspection:
    """One image inspected once.

    Attributes:
        source, number: who inspected, and its own count; the same pair is never logged twice. A number of None is the
            source's next one.
        name: of the file.
        sha256: of its content; None where it could not be read.
        model: SHA-256 of the model's weights; version: its number, None of a model without versions.
        verdict: "good", "borderline", "defect", "not comparable" or "unreadable".
        score, p_value, threshold: None where there is no score.
        reason: why an image has no verdict, in words.
        at: seconds since 1970.
        statistics: numbers of the image as a whole, as `altub.line.statistics` measures them; None: not measured.
    """

    source: str
    number: int | None
    name: str
    sha256: str | None
    model: str
    version: int | None
    verdict: str
    score: float | None
    p_value: float | None
    threshold: float | None
    reason: str
    at: float
    statistics: dict[str, float] | None = None


_COLUMNS = tuple(field.name for field in fields(Inspection))
_FIELDS = ", ".join(_COLUMNS)
_IN_TABLES = tuple(name for name in _COLUMNS if name not in ("at", "statistics"))  # `at` is written as a time
_NEXT = "coalesce(?, (SELECT coalesce(max(number), 0) + 1 FROM inspections WHERE source = ?))"


class InspectionLog:
    """The log in a label database; safe to use from several threads and processes.

    Args:
        database: its file, or an open one; default that of the label store.

    Raises:
        LabelError: it is damaged, or of a newer version of AltUB.
    """

    def __init__(self, database: Path | Database | None = None) -> None:
        self.db = database if isinstance(database, Database) else Database(Path(database or settings.labels_db()))

    def add(self, inspections: Iterable[Inspection]) -> None:
        """Logs them, all or none; one that is there already stays as it is."""
        marks = ", ".join(["?", _NEXT, *"?" * (len(_COLUMNS) - 2)])
        with self.db.write() as connection:
            connection.executemany(
                f"INSERT INTO inspections ({_FIELDS}) VALUES ({marks}) ON CONFLICT (source, number) DO NOTHING",
                [_values(one) for one in inspections],
            )

    def __len__(self) -> int:
        return self.db.row("SELECT count(*) AS n FROM inspections")["n"]

    def of_image(self, sha256: str) -> list[Inspection]:
        """Every inspection of an image by its content, the oldest first."""
        sql = f"SELECT {_FIELDS} FROM inspections WHERE sha256 = ? ORDER BY at, id"
        return [_inspection(row) for row in self.db.rows(sql, (sha256,))]

    def all(self, since: float = 0.0) -> Iterator[Inspection]:
        """All of them, or those since a time, in the order in which they were logged."""
        last = 0
        while True:
            sql = f"SELECT id, {_FIELDS} FROM inspections WHERE id > ? AND at >= ? ORDER BY id LIMIT ?"
            rows = self.db.rows(sql, (last, since, PAGE))
            for row in rows:
                yield _inspection(row)
            if len(rows) < PAGE:
                return
            last = rows[-1]["id"]

    def days(self) -> dict[str, dict[str, int]]:
        """Number of images by day (local time, "2026-11-29") and verdict."""
        rows = self.db.rows(
            "SELECT date(at, 'unixepoch', 'localtime') AS day, verdict, count(*) AS n FROM inspections "
            "GROUP BY 1, 2 ORDER BY 1, 2"
        )
        found: dict[str, dict[str, int]] = {}
        for row in rows:
            found.setdefault(row["day"], {})[row["verdict"]] = row["n"]
        return found

    def write_csv(self, path: Path, since: float = 0.0) -> int:
        """Writes a row an inspection; returns how many."""
        with explain_full_disk(path), path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow([*_IN_TABLES, "time"])
            count = 0
            for one in self.all(since):
                count += 1
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(one.at))
                table.writerow([*(as_cell(getattr(one, name)) for name in _IN_TABLES), stamp])
        return count

    # The line of one model.

    def of_model(self, model: str, after: int = 0, source: str | None = None) -> list[tuple[int, Inspection]]:
        """(row, inspection) by a model (SHA-256 of its weights), those behind a row, the first page of them.

        Args:
            source: only of this one.
        """
        sql = f"SELECT id, {_FIELDS} FROM inspections WHERE model = ? AND id > ? AND source = coalesce(?, source) "
        rows = self.db.rows(sql + "ORDER BY id LIMIT ?", (model, after, source, PAGE))
        return [(row["id"], _inspection(row)) for row in rows]

    def last_rows(self, model: str, most: int) -> int:
        """The row behind which there are at most so many inspections by a model; 0: all of them are."""
        sql = "SELECT id FROM inspections WHERE model = ? ORDER BY id DESC LIMIT 1 OFFSET ?"
        row = self.db.row(sql, (model, most))
        return 0 if row is None else row["id"]

    def sources(self, model: str) -> dict[str, int]:
        """Who inspected by a model, and how many images."""
        sql = "SELECT source, count(*) AS n FROM inspections WHERE model = ? GROUP BY source ORDER BY max(id) DESC"
        return {row["source"]: row["n"] for row in self.db.rows(sql, (model,))}

    def begin_anew(self, model: str) -> None:
        """A drift watch over this model's inspections counts only later ones from now on."""
        with self.db.write() as connection:
            connection.execute(
                "INSERT INTO drift_starts SELECT ?, coalesce(max(id), 0), ? FROM inspections WHERE true "
                "ON CONFLICT (model) DO UPDATE SET row = excluded.row, at = excluded.at",
                (model, time.time()),
            )

    def began(self, model: str) -> tuple[int, float | None]:
        """Behind which row a drift watch begins, and when a person said so; (0, None): nobody did."""
        row = self.db.row("SELECT row, at FROM drift_starts WHERE model = ?", (model,))
        return (0, None) if row is None else (row["row"], row["at"])

    def forget(self, older_than: float) -> int:
        """Removes inspections from before a time; returns how many."""
        with self.db.write() as connection:
            return connection.execute("DELETE FROM inspections WHERE at < ?", (older_than,)).rowcount


def _values(one: Inspection) -> tuple:
    values = [getattr(one, name) for name in _COLUMNS]
    values[-1] = None if one.statistics is None else json.dumps(one.statistics)
    return (*values[:2], one.source, *values[2:])  # the source again, for its next number


def _inspection(row: sqlite3.Row) -> Inspection:
    values = {name: row[name] for name in _COLUMNS}
    if values["statistics"] is not None:
        values["statistics"] = json.loads(values["statistics"])
    return Inspection(**values)
