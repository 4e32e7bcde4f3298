"""The MVTec AD layout, made by hand and real."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from altub.data import MVTEC_CATEGORIES, list_categories, load_category, read_image, read_mask
from altub.errors import DataError


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".JPG"):
            Image.new("L", (4, 4)).save(path, "PNG")
        else:
            path.write_text("x")


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "mvtec"
    write(root / "screw", "train/good/001.png", "train/good/000.png", "train/good/010.JPG", "train/good/notes.txt")
    write(root / "screw", "train/good/.hidden.png", "train/good/__MACOSX/000.png", "__MACOSX/train/good/000.png")
    write(root / "screw", "test/good/000.png", "test/thread/000.png", "test/thread/001.png", "test/bent/000.png")
    write(root / "screw", "ground_truth/thread/000_mask.png", "ground_truth/thread/.000_mask.png")
    write(root / "screw", "ground_truth/bent/000.png")
    write(root / "bottle", "train/good/000.png")
    write(root, "license.txt", "other/readme.txt")
    return root


def test_the_fifteen():
    assert len(MVTEC_CATEGORIES) == len(set(MVTEC_CATEGORIES)) == 15
    assert tuple(sorted(MVTEC_CATEGORIES)) == MVTEC_CATEGORIES


def test_categories_that_are_there(root):
    bottle, screw = list_categories(root)
    assert (bottle.name, screw.name) == ("bottle", "screw")
    assert bottle.layout == screw.layout == "mvtec"
    assert bottle.counts() == {"train": 1, "test_good": 0, "test_defective": 0, "masks": 0}
    assert bottle.defective == ()
    assert screw.counts() == {"train": 3, "test_good": 1, "test_defective": 3, "masks": 2}


def test_pictures_are_sorted_and_masks_found(root):
    screw = load_category(str(root), "screw")
    assert [sample.path.name for sample in screw.train] == ["000.png", "001.png", "010.JPG"]
    assert not any(sample.is_defective for sample in screw.train)
    listed = [(s.defect, s.path.name, s.mask_path and s.mask_path.name) for s in screw.test]
    assert listed == [
        ("bent", "000.png", "000.png"),
        ("good", "000.png", None),
        ("thread", "000.png", "000_mask.png"),
        ("thread", "001.png", None),
    ]
    assert [sample.path.name for sample in screw.defective if sample.mask_path is None] == ["001.png"]
    assert screw.defects == ("bent", "thread")


def test_root_may_be_the_category(root):
    (screw,) = list_categories(root / "screw")
    assert screw == load_category(root, "screw") == load_category(root / "screw", "screw")


def test_unknown_category_names_those_that_are_there(root):
    with pytest.raises(DataError, match=r"no category 'teapot'.*bottle, screw"):
        load_category(root, "teapot")
    with pytest.raises(DataError, match="no category"):
        load_category(root, "../mvtec/screw")


def test_empty_category_does_not_hide_the_others(root):
    (root / "wood" / "train" / "good").mkdir(parents=True)
    assert [category.name for category in list_categories(root)] == ["bottle", "screw"]
    with pytest.raises(DataError, match=r"no image in .*wood.train.good"):
        load_category(root, "wood")
    with pytest.raises(DataError, match=r"no image in .*wood.train.good"):
        list_categories(root / "wood")


def test_folder_that_is_no_data_set(root, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"train/good.*plain folder of good images"):
        list_categories(tmp_path / "empty")
    with pytest.raises(DataError, match=r"does not exist"):
        list_categories(tmp_path / "gone")
    with pytest.raises(DataError, match=r"a file, not a folder"):
        list_categories(root / "license.txt")
    with pytest.raises(DataError, match=r"No data source"):
        list_categories("")
    with pytest.raises(DataError) as caught:
        list_categories(tmp_path)  # one level too high
    assert f"Did you mean {root}?" in str(caught.value)


def test_real_data():
    shared = Path(os.environ.get("ALTUB_TEST_SHARED") or Path(__file__).parents[4] / "shared")
    data = shared / "data" / "mvtec256"
    if not data.is_dir():
        pytest.skip(f"no MVTec AD below {shared} (set ALTUB_TEST_SHARED)")
    bottle, screw = load_category(data, "bottle"), load_category(data, "screw")
    assert bottle.counts() == {"train": 209, "test_good": 20, "test_defective": 63, "masks": 63}
    assert screw.counts() == {"train": 320, "test_good": 41, "test_defective": 119, "masks": 119}
    assert bottle.defects == ("broken_large", "broken_small", "contamination")
    sample = bottle.defective[0]
    image, mask = read_image(sample.path), read_mask(sample.mask_path)
    assert image.size == mask.shape[::-1] == (256, 256)
    assert 0 < mask.mean() < 0.5
