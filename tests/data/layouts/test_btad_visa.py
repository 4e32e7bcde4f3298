"""The layouts of BTAD and VisA on miniatures: found, split, matched with their masks, and refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.data import list_categories, load_category, read_mask
from altub.errors import DataError


def picture(path: Path, value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (value, value, value)).save(path)


def mask(path: Path, values: tuple[int, ...] = (255,), palette: bool = False) -> None:
    """A mask with one row of each value below a row of zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.array([0, *values], dtype=np.uint8)
    image = Image.fromarray(np.repeat(rows[:, None], 8, axis=1))
    if palette:
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    image.save(path)


# BTAD.


@pytest.fixture
def btad(tmp_path) -> Path:
    """Three products whose pictures and masks end in bmp and png, mixed as in BTAD."""
    root = tmp_path / "BTech_Dataset_transformed"
    for product, pictures, masks in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        for k in range(3):
            picture(root / product / f"train/ok/{k:04d}.{pictures}")
        for k in range(2):
            picture(root / product / f"test/ok/{k:04d}.{pictures}")
            picture(root / product / f"test/ko/{k:04d}.{pictures}")
            mask(root / product / f"ground_truth/ko/{k:04d}.{masks}")
    picture(root / "01/train/ok/.hidden.bmp")
    return root


def test_btad_is_read_with_its_mixed_endings(btad):
    categories = list_categories(btad)
    assert [(c.name, c.layout, c.notes) for c in categories] == [(name, "btad", ()) for name in ("01", "02", "03")]
    for category in categories:
        assert category.counts() == {"train": 3, "test_good": 2, "test_defective": 2, "masks": 2}
        assert category.defects == ("ko",)
        assert {sample.defect for sample in category.train} == {"good"}
    first = load_category(btad, "01").defective[1]
    assert (first.path.name, first.mask_path.name) == ("0001.bmp", "0001.png")
    assert first.mask_path.parent == btad / "01/ground_truth/ko"
    assert read_mask(first.mask_path).sum() == 8
    assert load_category(btad, "03").defective[0].mask_path.name == "0000.bmp"


def test_one_btad_product_by_itself(btad):
    assert list_categories(btad / "02") == [load_category(btad, "02")]


def test_btad_masks_that_are_missing_are_said_to_be(btad):
    (btad / "01/ground_truth/ko/0001.png").unlink()
    category = load_category(btad, "01")
    assert [s.path.name for s in category.defective if s.mask_path is None] == ["0001.bmp"]
    (note,) = category.notes
    assert note.startswith("1 of 2 defective test images have no mask (0001.bmp is one)") and note.endswith(".")


def test_an_empty_btad_product_does_not_hide_the_others(btad):
    for path in (btad / "03/train/ok").iterdir():
        path.unlink()
    assert [category.name for category in list_categories(btad)] == ["01", "02"]
    with pytest.raises(DataError, match=r"no image in .*03.train.ok.*extract it again\.$"):
        load_category(btad, "03")


# VisA.


def visa_category(root: Path, name: str, normal: int = 20, anomalous: int = 3) -> Path:
    folder = root / name
    for k in range(normal):
        picture(folder / f"Data/Images/Normal/{k:04d}.JPG")
    for k in range(anomalous):
        picture(folder / f"Data/Images/Anomaly/{k:03d}.JPG")
        mask(folder / f"Data/Masks/Anomaly/{k:03d}.png", (1, 2, 5), palette=k == 1)
    lines = [f"{name}/Data/Images/Normal/{k:04d}.JPG,normal," for k in range(normal)]
    for k, kinds in zip(range(anomalous), ("bent", '"melt, colour/spot"'), strict=False):  # nothing about the third
        lines.append(f"{name}/Data/Images/Anomaly/{k:03d}.JPG,{kinds},{name}/Data/Masks/Anomaly/{k:03d}.png")
    (folder / "image_anno.csv").write_text("image,label,mask\n" + "\n".join(lines) + "\n")
    return folder


def write_split(root: Path, *lines: str) -> None:
    (root / "split_csv").mkdir(exist_ok=True)
    (root / "split_csv/1cls.csv").write_text("object,split,label,image,mask\n" + "\n".join(lines) + "\n")


def split_lines(name: str, normal: int = 20, anomalous: int = 3) -> list[str]:
    """Every fifth normal picture tests, which no hash would choose."""
    lines = [
        f"{name},{'train' if k % 5 else 'test'},normal,{name}/Data/Images/Normal/{k:04d}.JPG," for k in range(normal)
    ]
    for k in range(anomalous):
        lines.append(
            f"{name},test,anomaly,{name}/Data/Images/Anomaly/{k:03d}.JPG,{name}/Data/Masks/Anomaly/{k:03d}.png"
        )
    return lines


@pytest.fixture
def visa(tmp_path) -> Path:
    root = tmp_path / "VisA"
    for name in ("candle", "pcb1"):
        visa_category(root, name)
    write_split(root, *split_lines("candle"), *split_lines("pcb1"))
    return root


def test_visa_is_read_by_its_split_file(visa):
    candle, pcb = list_categories(visa)
    assert (candle.name, pcb.name, candle.layout, candle.notes) == ("candle", "pcb1", "visa", ())
    assert candle.counts() == {"train": 16, "test_good": 4, "test_defective": 3, "masks": 3}
    tested = [sample.path.name for sample in candle.test if not sample.is_defective]
    assert tested == ["0000.JPG", "0005.JPG", "0010.JPG", "0015.JPG"]
    assert [sample.path.name for sample in candle.train] == sorted(sample.path.name for sample in candle.train)
    assert list_categories(visa / "candle") == [candle], "the split file lies beside the category"


def test_visa_defects_have_their_names_and_small_class_numbers_are_defective(visa):
    candle = load_category(visa, "candle")
    assert [(s.path.name, s.defect) for s in candle.defective] == [
        ("002.JPG", "anomaly"),
        ("000.JPG", "bent"),
        ("001.JPG", "melt+colour_spot"),
    ]
    for sample in candle.defective:
        found = read_mask(sample.mask_path)
        assert found[0].sum() == 0 and found[1:].all(), sample.mask_path.name


def test_visa_without_its_split_file_is_split_the_same_way_every_time(visa):
    (visa / "split_csv/1cls.csv").unlink()
    candle = load_category(visa, "candle")
    assert candle.counts() == {"train": 18, "test_good": 2, "test_defective": 3, "masks": 3}
    assert load_category(visa, "candle") == candle
    assert not {s.path for s in candle.train} & {s.path for s in candle.test}
    (note,) = candle.notes
    assert "chose 2 of the 20 normal images" in note and "not comparable" in note


def test_visa_masks_that_are_missing(visa):
    (visa / "candle/Data/Masks/Anomaly/001.png").unlink()
    with pytest.raises(DataError, match=r"1cls\.csv names candle/Data/Masks/Anomaly/001\.png, not in .*extract"):
        load_category(visa, "candle")
    assert [category.name for category in list_categories(visa)] == ["pcb1"]
    (visa / "split_csv/1cls.csv").unlink()
    candle = load_category(visa, "candle")
    assert candle.counts()["masks"] == 2 and "1 of 3 defective" in candle.notes[1]


def test_visa_images_that_the_split_file_names_and_nobody_has(visa):
    for name in ("Normal/0003.JPG", "Normal/0005.JPG"):
        (visa / "pcb1/Data/Images" / name).unlink()
    with pytest.raises(DataError, match=r"names pcb1/Data/Images/Normal/0003\.JPG and 1 more, not in"):
        load_category(visa, "pcb1")


def test_visa_images_that_the_split_file_does_not_name_are_left_out(visa):
    picture(visa / "candle/Data/Images/Normal/9999.JPG")
    candle = load_category(visa, "candle")
    assert candle.counts()["train"] == 16
    assert candle.notes == ("Left out, for split_csv/1cls.csv has no line of them: 1 images such as 9999.JPG.",)


def test_a_category_that_the_split_file_does_not_have(visa):
    visa_category(visa, "my_part")
    with pytest.raises(DataError, match="no training image of my_part: add its lines"):
        load_category(visa, "my_part")
    assert [category.name for category in list_categories(visa)] == ["candle", "pcb1"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("candle,train,normal,../../etc/passwd,", "no file of the data set"),
        ("candle,train,normal,/etc/passwd,", "no file of the data set"),
        ("candle,train,normal,,", "no file of the data set"),
        ("candle,both,normal,candle/Data/Images/Normal/0000.JPG,", "expected is train or test"),
        ("candle,train,anomaly,candle/Data/Images/Anomaly/000.JPG,", "trains on defective images"),
    ],
)
def test_split_files_that_are_not_usable(visa, line, words):
    write_split(visa, line, *split_lines("candle"))
    with pytest.raises(DataError, match=words):
        load_category(visa, "candle")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00object"])
def test_split_files_that_are_none(visa, content):
    (visa / "split_csv/1cls.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"1cls\.csv (has no columns|is damaged).*archive of VisA again"):
        load_category(visa, "candle")


def test_an_empty_visa_category(visa):
    for path in (visa / "candle/Data/Images/Normal").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no image in .*Normal.*extract it again"):
        load_category(visa, "candle")


def test_converted_visa_is_found_from_both_folders(tmp_path):
    root = tmp_path / "visa_pytorch"
    for name in ("candle", "pcb1"):
        for path in ("train/good/0000.JPG", "test/good/0001.JPG", "test/bad/000.JPG"):
            picture(root / "1cls" / name / path)
        mask(root / "1cls" / name / "ground_truth/bad/000.png")
    categories = list_categories(root)
    assert [(c.name, c.layout) for c in categories] == [("candle", "mvtec"), ("pcb1", "mvtec")]
    assert categories == list_categories(root / "1cls")
    assert categories[0].counts() == {"train": 1, "test_good": 1, "test_defective": 1, "masks": 1}
    with pytest.raises(DataError, match=r"Did you mean .*visa_pytorch"):
        list_categories(tmp_path)


def test_both_can_be_trained_on(btad, visa):
    """A run of a second: the names of products, splits and masks go all the way through."""
    from altub.runs.run import Run
    from altub.training.config import make_config
    from altub.training.loop import train
    from tests.conftest import SIDE

    for root, name in ((btad, "01"), (visa, "candle")):
        for k in range(8):
            picture(btad / f"01/train/ok/1{k:03d}.bmp", 80 + k)
        config = make_config(data=str(root), category=name, backbone="filter-bank", image_size=SIDE, epochs=1)
        run = Run.create(root.parent / f"run-{name}", config)
        for _ in train(run):
            pass
        assert run.status.state == "finished", run.status.message
        assert run.events()[-1].test.pixel_auroc is not None
