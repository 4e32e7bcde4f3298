"""Labels out of a store into a folder of a format, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from altub.errors import DataError, LabelError
from altub.labels.formats import coco, csv_table, imagefolder, jsonl, mvtec
from altub.labels.formats.folder import ExportFolder, exporting
from altub.labels.formats.item import Item
from altub.labels.records import Label
from altub.labels.store import LabelStore

__all__ = ["FORMATS", "Exported", "Format", "Imported", "export_labels", "import_labels", "labelled_items"]


class Format(Protocol):
    """What a format must offer; a module with these three functions is one."""

    def write(self, items: Iterable[Item], out: ExportFolder) -> tuple[str, ...]: ...

    def read(self, folder: Path) -> Iterator[Item]: ...

    def matches(self, folder: Path) -> bool: ...


FORMATS: dict[str, Format] = {
    "mvtec": mvtec,
    "coco": coco,
    "csv": csv_table,
    "jsonl": jsonl,
    "imagefolder": imagefolder,
}


@dataclass(frozen=True)
class Exported:
    """What an export took.

    Attributes:
        images: number of labelled images.
        notes: sentences on what the format has no place for.
    """

    images: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """What an import brought.

    Attributes:
        added: images that were not in the store.
        labelled: labels that were appended.
        same: images whose label was the same already.
    """

    added: int
    labelled: int
    same: int


def export_labels(
    store: LabelStore,
    folder: str | Path,
    kind: str,
    *,
    source: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Writes every labelled image, with its newest label, to a new folder.

    Args:
        kind: one of `FORMATS`.
        source: only images from there.
        progress: called with the number of images done and of all.

    Raises:
        DataError: there is no such format, the folder is in use, or there is nothing to export.
        DiskFullError: no room; nothing is left behind.
    """
    chosen = _format(kind)
    labels = list(store.labels.all(source).values())
    if not labels:
        raise DataError("There are no labels to export: label some images first.")

    def items() -> Iterator[Item]:
        for done, item in enumerate(labelled_items(store, labels), start=1):
            yield item
            if progress is not None:
                progress(done, len(labels))

    with exporting(Path(folder)) as out:
        notes = chosen.write(items(), out)
    return Exported(len(labels), notes)


def labelled_items(store: LabelStore, labels: Iterable[Label]) -> Iterator[Item]:
    """The images of these labels, as a format takes them."""
    for label in labels:
        image = store.images.get(label.image)
        yield Item(
            path=store.objects.path(image.sha256),
            name=image.name if Path(image.name).suffix else f"{image.name}{image.suffix}",
            size=image.size,
            verdict=label.verdict,
            defect_type=label.defect_type,
            mask=store.labels.mask(label),
            note=label.note,
            who=label.who,
            at=label.at,
            source=image.source,
        )


def import_labels(
    store: LabelStore,
    folder: str | Path,
    who: str,
    kind: str | None = None,
    *,
    source: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Imported:
    """Adds the images and labels of a folder; the same folder twice changes nothing.

    Args:
        who: whose labels they are, where the folder does not tell.
        kind: one of `FORMATS`; None: the one that the folder has.
        source: of the images, in place of what the folder says.
        progress: called with the number of images done.

    Raises:
        DataError: the folder is of no such format, or damaged. What was imported before stays.
    """
    folder = Path(folder)
    if kind is None:
        kind = next((name for name, known in FORMATS.items() if known.matches(folder)), None)
        if kind is None:
            raise DataError(f"{folder} is of no format that is known: {', '.join(FORMATS)}.")
    elif not _format(kind).matches(folder):
        raise DataError(f"{folder} does not have the format {kind!r}.")
    before, labelled, same = len(store.images), 0, 0
    for done, item in enumerate(_format(kind).read(folder), start=1):
        image = store.images.add(item.path, source=item.source if source is None else source)
        if _is_known(store, image.sha256, item):
            same += 1
        else:
            _append(store, image.sha256, item, who)
            labelled += 1
        if progress is not None:
            progress(done)
    return Imported(len(store.images) - before, labelled, same)


def _append(store: LabelStore, image: str, item: Item, who: str) -> None:
    mask = item.mask if item.verdict == "defect" else None
    try:
        store.labels.add(
            image, item.who or who, item.verdict, defect_type=item.defect_type, mask=mask, note=item.note, at=item.at
        )
    except LabelError as error:
        raise DataError(f"The label of {item.name} cannot be imported: {error}") from error


def _is_known(store: LabelStore, image: str, item: Item) -> bool:
    """Does the newest label say all that the item says?"""
    label = store.labels.of(image)
    if label is None or label.verdict != item.verdict or item.note not in ("", label.note):
        return False
    if item.defect_type not in (None, label.defect_type):
        return False
    mask = store.labels.mask(label)
    return bool(np.array_equal(mask, item.mask)) if mask is not None and item.mask is not None else mask is item.mask


def _format(kind: str) -> Format:
    if kind not in FORMATS:
        raise DataError(f"{kind!r} is no format of labels: use {', '.join(FORMATS)}.")
    return FORMATS[kind]
