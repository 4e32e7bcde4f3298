"""A labelled image on its way to or from a file: what a format can hold of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from altub.errors import DataError
from altub.labels.records import VERDICTS, Verdict

__all__ = ["Item", "details", "inside", "item_from_details"]


@dataclass(frozen=True, eq=False)
class Item:
    """A labelled image.

    Attributes:
        path: file with its original bytes.
        name: file name for people.
        size: (width, height), upright; None where it was not read yet.
        mask: bool (H, W), of a defect; None: without one.
        who, at, note, source: as in the store; empty where a format does not tell.
    """

    path: Path
    name: str
    verdict: Verdict
    size: tuple[int, int] | None = None
    defect_type: str | None = None
    mask: np.ndarray | None = None
    note: str = ""
    who: str = ""
    at: float | None = None
    source: str = ""


def details(item: Item) -> dict[str, Any]:
    """What is kept of an item beside its files, as plain values."""
    values = {"verdict": item.verdict, "defect_type": item.defect_type, "note": item.note, "who": item.who}
    return values | {"at": item.at, "source": item.source}


def item_from_details(path: Path, values: dict[str, Any], mask: np.ndarray | None, where: str) -> Item:
    """The item that `details` was taken from; unknown entries are ignored.

    Raises:
        DataError: an entry is not what it should be; `where` says in which row or file.
    """
    verdict, at = values.get("verdict"), values.get("at")
    if verdict not in VERDICTS:
        raise DataError(f"{where} has no verdict that is known: it must be {', '.join(VERDICTS)}.")
    try:
        moment = None if at in (None, "") else float(at)
        if moment is not None and not math.isfinite(moment):
            raise ValueError("never")
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where} has a time that is no number: give seconds since 1970, or none.") from error
    words = {name: str(values.get(name) or "") for name in ("note", "who", "source")}
    kind = str(values.get("defect_type") or "") or None
    return Item(path, path.name, verdict, None, kind if verdict == "defect" else None, mask, at=moment, **words)


def inside(folder: Path, name: object, where: str) -> Path:
    """The file of this relative name in a folder; a table from elsewhere may name anything.

    Raises:
        DataError: it leads out of the folder, or is not there.
    """
    path = folder / str(name)
    try:
        is_inside, is_there = path.resolve().is_relative_to(folder.resolve()), path.is_file()
    except (OSError, ValueError):  # no name of a file: too long, or with a NUL in it
        is_inside, is_there = True, False
    if not is_inside:
        raise DataError(f"{where} names a file outside of {folder}: it is not read.")
    if not is_there:
        raise DataError(f"{where} names {str(name)[:200]!r}, which is not in {folder}: copy the images beside it.")
    return path
