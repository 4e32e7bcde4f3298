"""What of a long prediction is done, so that one that was killed goes on where it was.

`predictions.part.jsonl` lies beside the results until all of them are there. Its first line says what they follow from:
the model, the threshold and the formats. Then comes a line for each chunk of images, written when their pictures are.
What is done by other settings, or of a file that changed since, does not count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from altub.files import explain_full_disk
from altub.inference.table import Row

__all__ = ["JOURNAL", "PredictionJournal"]

JOURNAL = "predictions.part.jsonl"


class PredictionJournal:
    """The journal of a folder; memory grows by some bytes an image, not by its row.

    Args:
        folder: of the results, made if it is not there.
        key: what the results follow from; a journal with another one is replaced.

    Raises:
        DiskFullError: (also from `add`) there is no room.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / JOURNAL
        self._places: dict[str, tuple[int, int]] = {}  # image -> where its line begins, its place in that line
        with explain_full_disk(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                _remove_unfinished(folder)
            end = self._read(key)
            self._file = self.path.open("r+b" if end else "w+b")
            self._file.truncate(end)  # without a line that was cut off
            if not end:
                self._write({"key": key})

    def _read(self, key: str) -> int:
        """Fills `_places`; returns where the last whole line ends, 0 where the journal is of no use."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return 0
        with file:
            if _parsed(file.readline()) != {"key": key}:
                return 0
            end = file.tell()
            for line in file:
                found = _parsed(line)
                if not isinstance(found, list) or not all(map(_is_entry, found)):
                    break
                for place, entry in enumerate(found):
                    if _stamp(entry["image"]) == entry["stamp"]:
                        self._places[entry["image"]] = end, place
                end += len(line)
            return end

    def __contains__(self, image: Path) -> bool:
        return str(image) in self._places

    def add(self, entries: Sequence[tuple[Path, str, Row]]) -> None:
        """Images of one chunk, each with the file name of its pictures and its row."""
        start = self._file.seek(0, os.SEEK_END)
        found = [
            {"image": str(path), "stamp": _stamp(str(path)), "name": name, "row": row} for path, name, row in entries
        ]
        self._write(found)
        self._places.update((entry["image"], (start, place)) for place, entry in enumerate(found))

    def entries(self, images: Sequence[Path]) -> Iterator[tuple[str, Row]]:
        """File name and row of each of these images that is done, in their order."""
        start, found = -1, []
        for image in images:
            if str(image) in self._places:
                line, place = self._places[str(image)]
                if line != start:
                    self._file.seek(line)
                    start, found = line, json.loads(self._file.readline())
                yield found[place]["name"], found[place]["row"]

    def close(self, *, remove: bool) -> None:
        """Closes the file; it is removed where everything is done."""
        self._file.close()
        if remove:
            self.path.unlink(missing_ok=True)

    def _write(self, value: Any) -> None:
        with explain_full_disk(self.path):
            self._file.write((json.dumps(value) + "\n").encode())
            self._file.flush()


def _remove_unfinished(folder: Path) -> None:
    """Removes the half-written files that a killed process left (`altub.files.replacing`)."""
    for path in chain(folder.glob(".*.tmp"), folder.glob("*/.*.tmp")):
        path.unlink(missing_ok=True)


def _parsed(line: bytes) -> Any:
    """The value of a line; None where it was cut off or is damaged."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None


def _is_entry(value: Any) -> bool:
    """Was this written by `add`?"""
    kinds = {"image": str, "stamp": list, "name": str, "row": dict}
    return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in kinds.items())


def _stamp(image: str) -> list[int]:
    """Size and time of a file; another one has another."""
    try:
        found = os.stat(image)
    except (OSError, ValueError):
        return []
    return [found.st_size, found.st_mtime_ns]
