"""The MVTec AD layout: round trips, and an export that can be trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from altub.data import list_categories
from altub.errors import DataError
from altub.labels.formats import export_labels
from altub.labels.store import LabelStore
from tests.labels.conftest import add_pictures
from tests.labels.formats.round_trip import assert_same_labels, fill, there_and_back


def test_what_comes_back_is_what_was_there(store: LabelStore, tmp_path: Path) -> None:
    fill(store)
    exported, imported, copy = there_and_back(store, "mvtec", tmp_path)
    assert exported.notes == ("1 images labelled unsure were left out.",) and imported.added == 12
    assert_same_labels(store, copy, details=False, unsure=False)


def test_an_export_is_a_category(store: LabelStore, tmp_path: Path) -> None:
    fill(store)
    export_labels(store, tmp_path / "exports" / "part", "mvtec")
    (category,) = list_categories(tmp_path / "exports")
    assert category.name == "part" and category.defects == ("deep dent (2)", "defect", "scratch")
    assert category.counts() == {"train": 6, "test_good": 1, "test_defective": 5, "masks": 4}


def test_without_defects_all_are_to_train_on_and_without_good_ones_there_is_no_category(
    store: LabelStore, tmp_path: Path
) -> None:
    one, two, three = add_pictures(store, 3)
    store.labels.add(three, "ann", "defect")
    with pytest.raises(DataError, match="label at least one as good"):
        export_labels(store, tmp_path / "out", "mvtec")
    store.labels.undo(store.labels.of(three).event, "ann")
    for image in (one, two):
        store.labels.add(image, "ann", "good")
    export_labels(store, tmp_path / "out", "mvtec")
    assert len(list((tmp_path / "out" / "train" / "good").iterdir())) == 2
    assert not (tmp_path / "out" / "test").exists()
