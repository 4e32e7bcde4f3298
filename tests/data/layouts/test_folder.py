"""Plain folders as people have them: good pictures, perhaps defective ones, perhaps masks."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from altub.data import list_categories, load_category
from altub.errors import DataError


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path, "PNG")


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{k:02d}.png" for k in range(count)]


@pytest.fixture
def parts(tmp_path) -> Path:
    return tmp_path / "parts"


def test_good_pictures_directly_in_the_folder(parts):
    write(parts, *numbered("", 7))
    (category,) = list_categories(parts)
    assert (category.name, category.layout, category.root) == ("parts", "folder", parts)
    assert category.counts() == {"train": 7, "test_good": 0, "test_defective": 0, "masks": 0}
    assert category.test == ()
    assert [sample.path.name for sample in category.train] == numbered("", 7)
    assert load_category(parts, "parts") == category


@pytest.mark.parametrize("good", ["good", "OK", "Normal"])
def test_a_subfolder_for_the_good_ones(parts, good):
    write(parts / good, *numbered("", 3))
    (category,) = list_categories(parts)
    assert category.counts()["train"] == 3
    assert {sample.defect for sample in category.train} == {"good"}


@pytest.mark.parametrize("count", [2, 3, 12, 40])
def test_a_fifth_of_the_good_ones_is_kept_for_testing(parts, count):
    write(parts, *numbered("good/", count), *numbered("bad/", 4))
    (category,) = list_categories(parts)
    kept = max(1, round(count / 5))
    assert category.counts() == {"train": count - kept, "test_good": kept, "test_defective": 4, "masks": 0}
    both = {s.path for s in category.train} & {s.path for s in category.test}
    assert not both, "no picture is both learned from and tested on"
    assert list_categories(parts) == [category]
    assert {s.defect for s in category.test} == {"good", "bad"}


def test_kept_pictures_hardly_change_when_some_are_added(parts):
    write(parts, *numbered("good/", 40), "bad/x.png")
    before = {s.path for s in list_categories(parts)[0].test if not s.is_defective}
    write(parts, *numbered("good/new", 5))
    after = {s.path for s in list_categories(parts)[0].test if not s.is_defective}
    assert len(after) == 9 and len(before & after) >= 5


def test_one_good_picture_is_not_taken_away(parts):
    write(parts, "good/a.png", "bad/b.png")
    assert list_categories(parts)[0].counts() == {"train": 1, "test_good": 0, "test_defective": 1, "masks": 0}


def test_a_test_set_of_ones_own(parts):
    write(parts, *numbered("good/", 10), *numbered("test/good/", 2), *numbered("test/scratch/", 3), "test/dent/0.png")
    (category,) = list_categories(parts)
    assert category.counts() == {"train": 10, "test_good": 2, "test_defective": 4, "masks": 0}
    assert category.defects == ("dent", "scratch")
    assert [s.defect for s in category.test] == ["dent", "good", "good", "scratch", "scratch", "scratch"]


def test_kinds_of_defect_as_subfolders(parts):
    write(parts, *numbered("good/", 5), "defect/a.png", "defect/chip/b.png", "defect/rust/c.png")
    assert list_categories(parts)[0].defects == ("chip", "defect", "rust")


def test_masks_by_name(parts):
    write(parts, *numbered("good/", 5), "bad/a.png", "bad/b.png", "bad/c.png", "masks/a.png", "masks/b_mask.png")
    (category,) = list_categories(parts)
    assert {s.path.stem: s.mask_path and s.mask_path.name for s in category.defective} == {
        "a": "a.png",
        "b": "b_mask.png",
        "c": None,
    }
    assert category.counts()["masks"] == 2 and len(category.defective) == 3


def test_a_mask_that_could_belong_to_two_pictures_belongs_to_none(parts):
    write(parts, *numbered("good/", 5), "test/chip/0.png", "test/rust/0.png", "masks/0.png", "masks/rust/0.png")
    masks = {s.defect: s.mask_path for s in list_categories(parts)[0].defective}
    assert masks == {"chip": None, "rust": parts / "masks" / "rust" / "0.png"}


def test_masks_beside_their_pictures_are_no_pictures(parts):
    write(parts, *numbered("good/", 5), "bad/a.png", "bad/a_mask.png")
    assert [s.path.name for s in list_categories(parts)[0].defective] == ["a.png"]


def test_a_folder_of_such_folders(parts):
    write(parts / "lid", *numbered("good/", 3))
    write(parts / "box", *numbered("good/", 4))
    write(parts / "cap", *numbered("train/good/", 2))
    assert [(c.name, c.layout) for c in list_categories(parts)] == [
        ("box", "folder"),
        ("cap", "mvtec"),
        ("lid", "folder"),
    ]
    assert load_category(parts, "box").counts()["train"] == 4


def test_no_good_pictures(parts):
    write(parts, "bad/a.png")
    (parts / "good").mkdir()
    with pytest.raises(DataError, match=r"no image in .*good"):
        list_categories(parts)


def test_hidden_files_and_leftovers_of_archives_are_left_out(parts):
    write(parts, "a.png", ".b.png", "._a.png", "__MACOSX/a.png", ".good/c.png")
    assert [s.path.name for s in list_categories(parts)[0].train] == ["a.png"]
