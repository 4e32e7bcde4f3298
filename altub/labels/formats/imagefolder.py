"""A Hugging Face image folder: metadata.jsonl beside the images.

`datasets.load_dataset("imagefolder", data_dir=...)` gives the columns image, mask, verdict, defect_type, note, who, at
and source; `altub.labels.publish` sends the folder to the Hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from altub.labels.formats.folder import ExportFolder
from altub.labels.formats.item import Item
from altub.labels.formats.rows import read_json_lines, read_rows, write_files, write_json_lines

__all__ = ["FILE", "IMAGE", "MASK", "matches", "read", "write"]

FILE = "metadata.jsonl"
IMAGE, MASK = "file_name", "mask_file_name"  # as `datasets` names the columns that become pictures


def matches(folder: Path) -> bool:
    """Is there a metadata.jsonl?"""
    return (folder / FILE).is_file()


def write(items: Iterable[Item], out: ExportFolder) -> tuple[str, ...]:
    """Writes images, masks and metadata.jsonl."""
    write_json_lines([write_files(item, out, IMAGE, MASK) for item in items], out, FILE)
    return ()


def read(folder: Path) -> Iterator[Item]:
    """The images of metadata.jsonl."""
    return read_rows(folder, read_json_lines(folder / FILE), FILE, IMAGE, MASK)
