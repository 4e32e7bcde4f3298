"""A row an image: what CSV, JSON lines and image folders have in common. Files lie in folders beside the rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from altub.data.images import read_mask
from altub.errors import DataError
from altub.labels.formats.folder import ExportFolder
from altub.labels.formats.item import Item, details, inside, item_from_details

__all__ = ["COLUMNS", "read_json_lines", "read_rows", "write_files", "write_json_lines"]

#: Columns of a row: two paths and the details of the label.
COLUMNS = ("image", "mask", "verdict", "defect_type", "note", "who", "at", "source")


def write_files(item: Item, out: ExportFolder, image: str = "image", mask: str = "mask") -> dict[str, Any]:
    """Copies an image and its mask; the row of it, whose paths have these names."""
    path = out.add_image(item, "images")
    row: dict[str, Any] = {image: path.as_posix(), mask: None}
    if item.mask is not None:
        row[mask] = out.add_mask(item.mask, Path("masks") / f"{path.stem}.png")
    return row | details(item)


def read_rows(folder: Path, rows: Iterable[Any], file: str, image: str = "image", mask: str = "mask") -> Iterator[Item]:
    """The items of rows with paths of these names.

    Raises:
        DataError: a row is not what it should be, or names a file that is not there.
    """
    for number, row in enumerate(rows, start=1):
        where = f"Row {number} of {file}"
        if not isinstance(row, dict) or not row.get(image):
            raise DataError(f"{where} names no image: it needs a value {image!r}.")
        path = inside(folder, row[image], where)
        drawn = read_mask(inside(folder, row[mask], where)) if row.get(mask) else None
        yield item_from_details(path, row, drawn, where)


def write_json_lines(rows: Iterable[dict[str, Any]], out: ExportFolder, file: str) -> None:
    """Writes a row a line."""
    out.add(file, "".join(f"{json.dumps(row, allow_nan=False)}\n" for row in rows).encode())


def read_json_lines(path: Path) -> Iterator[Any]:
    """The values of a file of JSON lines.

    Raises:
        DataError: a line is no JSON.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(f"Line {number} of {path.name} is no JSON: export it again.") from error
