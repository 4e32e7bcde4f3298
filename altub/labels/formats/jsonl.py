"""labels.jsonl: a JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from altub.labels.formats.folder import ExportFolder
from altub.labels.formats.item import Item
from altub.labels.formats.rows import read_json_lines, read_rows, write_files, write_json_lines

__all__ = ["FILE", "matches", "read", "write"]

FILE = "labels.jsonl"


def matches(folder: Path) -> bool:
    """Is there a labels.jsonl?"""
    return (folder / FILE).is_file()


def write(items: Iterable[Item], out: ExportFolder) -> tuple[str, ...]:
    """Writes images, masks and labels.jsonl."""
    write_json_lines([write_files(item, out) for item in items], out, FILE)
    return ()


def read(folder: Path) -> Iterator[Item]:
    """The images of labels.jsonl."""
    return read_rows(folder, read_json_lines(folder / FILE), FILE)
