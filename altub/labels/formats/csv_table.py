"""labels.csv: a row an image, for spreadsheets.

Text that a spreadsheet would run as a formula has a quote before it, which the import takes away.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from altub.errors import DataError
from altub.inference.table import cell_text, table_to_csv
from altub.labels.formats.folder import ExportFolder
from altub.labels.formats.item import Item
from altub.labels.formats.rows import COLUMNS, read_rows, write_files

__all__ = ["FILE", "matches", "read", "write"]

FILE = "labels.csv"


def matches(folder: Path) -> bool:
    """Is there a labels.csv?"""
    return (folder / FILE).is_file()


def write(items: Iterable[Item], out: ExportFolder) -> tuple[str, ...]:
    """Writes images, masks and labels.csv."""
    out.add(FILE, table_to_csv([write_files(item, out) for item in items], COLUMNS).encode())
    return ()


def read(folder: Path) -> Iterator[Item]:
    """The images of labels.csv."""
    with (folder / FILE).open(encoding="utf-8-sig", errors="replace", newline="") as file:
        table = csv.DictReader(file)
        rows = ({name: cell_text(cell) for name, cell in row.items() if isinstance(cell, str)} for row in table)
        try:
            yield from read_rows(folder, rows, FILE)
        except csv.Error as error:
            raise DataError(f"{folder / FILE} is no table that can be read ({error}): export it again.") from error
