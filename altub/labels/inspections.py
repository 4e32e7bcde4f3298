"""The inspection log: each inspected image's verdict, score, model and time, in the label store's database.

    log = InspectionLog()
    log.of_image(sha256)                 what was ever said of an image
    log.days()                           verdicts by day
    log.forget(older_than=time.time() - 90 * 86400)

Images themselves are not kept.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
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
        source, number: who inspected, and its own count; the same pair is never logged twice.
        name: of the file.
        sha256: of its content; None where it could not be read.
        model: SHA-256 of the model's weights; version: its number, None of a model without versions.
        verdict: "good", "borderline", "defect", "not comparable" or "unreadable".
        score, p_value, threshold: None where there is no score.
        reason: why an image has no verdict, in words.
        at: seconds since 1970.
    """

    source: str
    number: int
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


_COLUMNS = tuple(field.name for field in fields(Inspection))
_FIELDS = ", ".join(_COLUMNS)


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
        values = [tuple(asdict(one).values()) for one in inspections]
        with self.db.write() as connection:
            connection.executemany(
                f"INSERT INTO inspections ({_FIELDS}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
                "ON CONFLICT (source, number) DO NOTHING",
                values,
            )

    def __len__(self) -> int:
        return self.db.row("SELECT count(*) AS n FROM inspections")["n"]

    def of_image(self, sha256: str) -> list[Inspection]:
        """Every inspection of an image by its content, the oldest first."""
        sql = f"SELECT {_FIELDS} FROM inspections WHERE sha256 = ? ORDER BY at, id"
        return [Inspection(**dict(row)) for row in self.db.rows(sql, (sha256,))]

    def all(self, since: float = 0.0) -> Iterator[Inspection]:
        """All of them, or those since a time, in the order in which they were logged."""
        last = 0
        while True:
            sql = f"SELECT id, {_FIELDS} FROM inspections WHERE id > ? AND at >= ? ORDER BY id LIMIT ?"
            rows = self.db.rows(sql, (last, since, PAGE))
            for row in rows:
                yield Inspection(**{name: row[name] for name in _COLUMNS})
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
            table.writerow([*_COLUMNS[:-1], "time"])
            count = 0
            for one in self.all(since):
                count += 1
                values = asdict(one)
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(values.pop("at")))
                table.writerow([*(as_cell(value) for value in values.values()), stamp])
        return count

    def forget(self, older_than: float) -> int:
        """Removes inspections from before a time; returns how many."""
        with self.db.write() as connection:
            return connection.execute("DELETE FROM inspections WHERE at < ?", (older_than,)).rowcount
