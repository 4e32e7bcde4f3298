"""results.jsonl and results.csv of a watched folder: a line for each file, in the order of the journal.

The journal is the truth. A program that was killed between the journal and the tables adds what is missing at its next
start: each line begins with the number of its row, and half a line at the end is cut off.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from altub.files import explain_full_disk
from altub.inference.table import as_cell
from altub.line.journal import Entry, Journal

__all__ = ["COLUMNS", "Tables"]

#: Columns of results.csv: keys of a record.
COLUMNS = ("id", "time", "image", "verdict", "reason", "anomaly_score", "p_value", "score", "threshold", "marked_area")
COLUMNS += ("overlay", "model", "version", "seconds", "error")
TAIL = 1 << 20  # bytes at the end of a table in which its last line begins


class Tables:
    """Appends to the two tables of an output folder; brings them up to the journal first."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._tables = [_Table(folder / "results.jsonl", b"", _json_line, _json_number)]
        self._tables.append(_Table(folder / "results.csv", _csv_line(COLUMNS), _csv_row, _csv_number))
        for table in self._tables:
            table.catch_up(journal)

    def add(self, entries: Sequence[Entry]) -> None:
        """One line each; the entries follow those before in the journal."""
        for table in self._tables:
            table.append(entries)


class _Table:
    def __init__(self, path: Path, head: bytes, line: Any, number: Any) -> None:
        self.path, self.head, self.line, self.number = path, head, line, number

    def catch_up(self, journal: Journal) -> None:
        last = self._last()
        while entries := journal.after(last):
            self.append(entries)
            last = entries[-1].id

    def _last(self) -> int:
        """The number of the last line; the file ends behind it then."""
        with explain_full_disk(self.path), self.path.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - TAIL, 0))
            tail = file.read()
            whole = tail.rfind(b"\n") + 1
            file.truncate(size - len(tail) + whole)
            if size - len(tail) + whole < len(self.head) or not whole:
                file.truncate(0)
                file.write(self.head)
                return 0
            line = tail[:whole].rstrip(b"\n").rpartition(b"\n")[2]
        return self.number(line)

    def append(self, entries: Sequence[Entry]) -> None:
        lines = b"".join(self.line(entry) for entry in entries)
        with explain_full_disk(self.path), self.path.open("ab") as file:
            file.write(lines)


def _json_line(entry: Entry) -> bytes:
    return json.dumps(entry.record).encode() + b"\n"


def _json_number(line: bytes) -> int:
    return int(json.loads(line)["id"])


def _csv_row(entry: Entry) -> bytes:
    record = entry.record
    numbers = [str(entry.id), record["time"]]  # which the cells of texts and fractions are not
    return _csv_line([*numbers, *(as_cell(_flat(record.get(column))) for column in COLUMNS[2:])])


def _flat(value: Any) -> Any:
    """A text of one line, so that every line of the table is a row."""
    return " ".join(value.split()) if isinstance(value, str) else value


def _csv_line(cells: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _csv_number(line: bytes) -> int:
    first = line.partition(b",")[0]
    return int(first) if first.isdigit() else 0  # the head
