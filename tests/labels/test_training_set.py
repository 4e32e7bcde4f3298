"""A data set of what people labelled: which images are trained on, which are tested on, and that it does not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from altub.data import Sample, load_category
from altub.errors import ConfigError, DataError
from altub.labels.store import LabelStore
from altub.labels.training_set import list_training_sets, training_set_folder, write_training_set
from tests.labels.conftest import add_pictures, picture


@pytest.fixture
def labelled(store: LabelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ten good, two defective (one with a mask) and one unsure image of line 3, one good of another source."""
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path / "data"))
    images = add_pictures(store, 13, source="line 3")
    mask = np.zeros((8, 12), bool)
    mask[2:4, 3:7] = True
    for image in images[:10]:
        store.labels.add(image, "ann", "good")
    store.labels.add(images[10], "ann", "defect", defect_type="crack", mask=mask)
    store.labels.add(images[11], "ann", "defect", defect_type="crack")
    store.labels.add(images[12], "ann", "unsure")
    store.labels.add(add_pictures(store, 1, first=50, source="other")[0], "ann", "good")
    return images


def contents(samples: tuple[Sample, ...]) -> set[bytes]:
    return {sample.path.read_bytes() for sample in samples}


def test_good_labels_are_trained_on_and_defects_with_masks_are_the_test_set(store: LabelStore, labelled) -> None:
    path, notes = write_training_set(store, source="line 3")
    assert notes == ("1 images labelled unsure were left out.",)
    assert list_training_sets() == [path.name] and path.name.startswith("line 3 ")
    category = load_category(training_set_folder(path.name), path.name)
    good = [sample for sample in category.test if not sample.is_defective]
    assert (len(category.train), len(good), len(category.defective)) == (8, 2, 2)
    assert contents((*category.train, *good)) == {picture(n) for n in range(10)}
    assert sorted(sample.has_mask for sample in category.defective) == [False, True]
    masks = [sample.read_mask((8, 12)) for sample in category.defective if sample.has_mask]
    assert masks[0].sum() == 8


def test_further_good_images_join_and_a_label_counts_more(store: LabelStore, labelled, tmp_path: Path) -> None:
    extra = []
    for number in (5, 10, 70, 70, 71):  # a good one, a defective one, a new one twice, another new one
        extra.append(Sample(tmp_path / f"old{len(extra)}.png", "good"))
        extra[-1].path.write_bytes(picture(number))
    told = []
    path, notes = write_training_set(store, good=extra, folder=tmp_path / "set", progress=lambda *n: told.append(n))
    category = load_category(path, "set")
    good = contents((*category.train, *(sample for sample in category.test if not sample.is_defective)))
    assert good == {picture(n) for n in (*range(10), 50, 70, 71)}
    assert notes[-1].startswith("3 of the further good images are labelled")
    assert told[-1][1] == 14 + 5


def test_a_share_of_the_defects_with_masks_is_to_learn_from(store: LabelStore, labelled, tmp_path: Path) -> None:
    mask = np.zeros((8, 12), bool)
    mask[1:3, 2:9] = True
    for image in add_pictures(store, 40, first=100, source="line 3"):
        store.labels.add(image, "ann", "defect", defect_type="dent", mask=mask)
    path, _ = write_training_set(store, learned=0.5, folder=tmp_path / "set")
    category = load_category(path, "set")
    assert 10 <= len(category.known) <= 30 and all(sample.has_mask for sample in category.known)
    assert len(category.known) + len(category.defective) == 42
    assert not contents(category.known) & contents(category.test)
    assert sum(sample.has_mask for sample in category.defective) == 41 - len(category.known)
    assert all(sample.read_mask((8, 12)).sum() in (8, 14) for sample in category.known)
    for share in (-0.1, 1.0):
        with pytest.raises(ConfigError, match="from 0 to below 1"):
            write_training_set(store, learned=share, folder=tmp_path / "other")


def test_what_is_labelled_later_does_not_change_it(store: LabelStore, labelled) -> None:
    path, _ = write_training_set(store, source="line 3")
    before = {file: file.read_bytes() for file in path.rglob("*.png")}
    store.labels.add(labelled[0], "ann", "defect", defect_type="late")
    assert {file: file.read_bytes() for file in path.rglob("*.png")} == before
    with pytest.raises(DataError, match="exists already"):
        write_training_set(store, source="line 3", folder=path)


def test_what_cannot_be_made_is_said_and_leaves_nothing(store: LabelStore, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match="Nothing is labelled"):
        write_training_set(store)
    (image,) = add_pictures(store, 1)
    store.labels.add(image, "ann", "defect")
    with pytest.raises(DataError, match="at least one as good"):
        write_training_set(store)
    with pytest.raises(DataError, match="cannot be read"):
        write_training_set(store, good=[Sample(tmp_path / "gone.png", "good")])
    assert list_training_sets() == []
    assert not list((tmp_path / "data/labelled").iterdir())
    for name in ("../data", ".hidden", "", "nothing"):
        with pytest.raises(DataError, match="of this name"):
            training_set_folder(name)


def test_a_space_that_keeps_no_uploads_lists_none(store: LabelStore, labelled, monkeypatch) -> None:
    write_training_set(store)
    monkeypatch.setattr("altub.labels.training_set.uploads_are_shared", lambda: False)
    assert list_training_sets() == []
