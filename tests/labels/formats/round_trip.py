"""A store with labels of all kinds, and what must come back from an export."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from altub.labels.formats import export_labels, import_labels
from altub.labels.formats.exchange import Exported, Imported
from altub.labels.store import LabelStore
from tests.labels.conftest import picture

#: Notes that a table may take for something else.
NOTES = ("", "=1+1", "two\nlines;\t=SUM(A1)", "'quoted'", "'\tit", 'a,"b"\r\nc', "Größe ≥ 3 µm")


def fill(store: LabelStore) -> None:
    """Seven good images, five defects with and without masks, one unsure, one without a label; several of one name."""
    rng = np.random.default_rng(0)
    for number in range(14):
        name = "part.png" if number % 3 else f"part_{number}_mask.png"
        image = store.images.add(picture(number, (12 + number, 9)), name=name, source=f"line {number % 2}")
        values = {"note": NOTES[number % len(NOTES)], "at": 1000.5 + number}
        if number < 7:
            store.labels.add(image.sha256, "ann", "good", **values)
        elif number < 12:
            mask = rng.random((9, 12 + number)) < 0.4 if number > 7 else None
            if number == 11:
                mask = np.zeros((9, 23), bool)  # a mask without a pixel is not the same as none
            kind = None if number == 7 else ("scratch", "deep dent (2)")[number % 2]
            store.labels.add(image.sha256, "bob", "defect", defect_type=kind, mask=mask, **values)
        elif number == 12:
            store.labels.add(image.sha256, "bob", "unsure", **values)


def there_and_back(store: LabelStore, kind: str, folder: Path) -> tuple[Exported, Imported, LabelStore]:
    """Exports, imports into an empty store, and imports once more, which must change nothing."""
    exported = export_labels(store, folder / "out", kind)
    copy = LabelStore(folder / "copy" / "labels.db")
    imported = import_labels(copy, folder / "out", "importer")
    again = import_labels(copy, folder / "out", "importer", kind)
    assert (again.added, again.labelled, again.same) == (0, 0, imported.labelled)
    return exported, imported, copy


def assert_same_labels(store: LabelStore, copy: LabelStore, *, details: bool = True, unsure: bool = True) -> None:
    """The same images with the same labels, masks bit for bit.

    Args:
        details: also notes, people, times and sources.
        unsure: also images that are labelled unsure.
    """
    wanted = {i: label for i, label in store.labels.all().items() if unsure or label.verdict != "unsure"}
    found = copy.labels.all()
    assert set(found) == set(wanted) == {image.sha256 for image in copy.images.all()}
    for image, label in wanted.items():
        other = found[image]
        assert (other.verdict, other.defect_type) == (label.verdict, label.defect_type)
        assert other.mask_sha256 == label.mask_sha256, "the same mask is the same PNG"
        assert copy.images.path(image).read_bytes() == store.images.path(image).read_bytes()
        if details:
            assert (other.note, other.who, other.at) == (label.note, label.who, label.at)
            assert copy.images.get(image).source == store.images.get(image).source
