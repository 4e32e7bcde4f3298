"""The built-in sample: reproducible, exact masks, defects that stand out, and written once and whole."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from altub.data import (
    SAMPLE_CATEGORIES,
    list_categories,
    load_category,
    make_sample,
    read_image,
    read_mask,
    render_example,
)
from altub.data import sample as sample_module
from altub.data.sample import outline_sample
from altub.errors import DataError, DiskFullError

pytestmark = pytest.mark.usefixtures("quick_processes")

EVERY_DEFECT = [(category, defect) for category, defects in SAMPLE_CATEGORIES.items() for defect in defects]


@pytest.fixture
def small(monkeypatch):
    """A sample of two training images, one good test image and one image a defect, of one category."""
    monkeypatch.setattr(sample_module, "_TRAIN_GOOD", 2)
    monkeypatch.setattr(sample_module, "_TEST_GOOD", 1)
    monkeypatch.setattr(sample_module, "_TEST_EACH_DEFECT", 1)
    monkeypatch.setattr(sample_module, "SAMPLE_CATEGORIES", {"fabric": SAMPLE_CATEGORIES["fabric"]})


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.png")):
        total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return total.hexdigest()


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def pixels(image) -> np.ndarray:
    return np.asarray(image).astype(int)


@cache
def example(category: str, defect: str = "good", index: int = 0):
    """What several tests look at; drawing it takes a tenth of a second."""
    return render_example(category, defect, index)


@pytest.mark.parametrize("category", SAMPLE_CATEGORIES)
def test_an_example_follows_from_its_name_and_seed(category):
    first, again = (render_example(category, index=3) for _ in range(2))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.image.size == (256, 256) and first.image.mode == "RGB"
    assert not first.mask.any()
    others = [
        render_example(category, index=4),
        render_example(category, index=3, seed=1),
        render_example(category, index=3, split="train"),
    ]
    images = {first.image.tobytes(), *(other.image.tobytes() for other in others)}
    assert len(images) == 4, "each picture is one of its own"


@pytest.mark.parametrize(("category", "defect"), EVERY_DEFECT)
def test_a_defect_changes_the_pixels_of_its_mask_and_no_others(category, defect, monkeypatch):
    drawn = example(category, defect, 1)
    monkeypatch.setattr(sample_module._PRODUCTS[category], "render", good_only(category))
    twin = render_example(category, defect, 1)  # the same piece and the same camera noise, without the defect
    assert not twin.mask.any()
    change = np.abs(pixels(drawn.image) - pixels(twin.image)).max(axis=2)
    assert 50 < drawn.mask.sum() < 0.15 * drawn.mask.size
    stray = change[~drawn.mask] > 10
    assert stray.sum() <= 0.05 * drawn.mask.sum(), "what is not in the mask has not noticeably changed"
    assert np.mean(change[drawn.mask] > 8) > 0.35, (
        "an outline holds gaps, not much else (a ghost on black print shows nothing)"
    )
    near = ndimage.binary_dilation(change > 8, iterations=4)
    assert near[drawn.mask].mean() > 0.95, "the outline stays close to what has changed"
    assert change[drawn.mask].max() > 25


def good_only(category: str):
    render = sample_module._PRODUCTS[category].render
    return lambda look, fault, defect: render(look, fault, None)


@pytest.mark.parametrize(("category", "defect"), EVERY_DEFECT)
def test_a_mask_is_one_defect_and_not_a_cloud_of_specks(category, defect):
    for index in range(3):
        regions, count = ndimage.label(example(category, defect, index).mask, np.ones((3, 3)))
        assert 1 <= count <= 3
        assert np.bincount(regions.ravel())[1:].min() >= 10


@pytest.mark.parametrize("category", SAMPLE_CATEGORIES)
def test_every_mask_of_the_sample_has_pixels(category):
    for defect in SAMPLE_CATEGORIES[category]:
        areas = [int(example(category, defect, index).mask.sum()) for index in range(2)]
        assert min(areas) >= 50, (defect, areas)


@pytest.mark.parametrize("category", SAMPLE_CATEGORIES)
def test_pieces_differ_but_little(category):
    good = np.stack([pixels(render_example(category, index=k, split="train").image) for k in range(4)])
    brightness = good.mean(axis=(1, 2, 3))
    assert 30 < brightness.mean() < 225
    assert 0 < np.ptp(brightness) < 20
    assert good.std(axis=(1, 2)).min() > 10, "there is something to see"


def test_unknown_names(tmp_path):
    with pytest.raises(DataError, match="bracket, fabric, label"):
        render_example("teapot")
    with pytest.raises(DataError, match=r"good, .*hole"):
        render_example("fabric", "rust")


def test_sample_is_a_data_set(small, tmp_path, monkeypatch):
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path / "data"))
    (category,) = list_categories("sample")
    assert (category.name, category.layout) == ("fabric", "mvtec")
    assert category.root == tmp_path / "data" / "sample" / "fabric"
    assert category.counts() == {"train": 2, "test_good": 1, "test_defective": 5, "masks": 5}
    assert category.defects == SAMPLE_CATEGORIES["fabric"]
    sample = category.defective[0]
    drawn = render_example("fabric", sample.defect)
    assert np.array_equal(pixels(read_image(sample.path)), pixels(drawn.image))
    assert np.array_equal(read_mask(sample.mask_path), drawn.mask)
    with pytest.raises(DataError, match=r"no category .bottle. in the built-in sample\. There is: "):
        load_category("sample", "bottle")


def test_the_outline_is_what_is_drawn(small, tmp_path, monkeypatch):
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path))
    outline = outline_sample("fabric")
    assert not list(tmp_path.iterdir())
    drawn = load_category(make_sample(tmp_path / "sample"), "fabric")
    for ours, theirs in ((outline.train, drawn.train), (outline.test, drawn.test)):
        assert {(one.path, one.defect) for one in ours} == {(one.path, one.defect) for one in theirs}
    with pytest.raises(DataError, match="no category 'velvet'"):
        outline_sample("velvet")


def test_same_seed_same_bytes_and_written_once(small, tmp_path):
    calls = []
    first = make_sample(tmp_path / "a", progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k, 8) for k in range(1, 9)]
    make_sample(tmp_path / "b")
    other = make_sample(tmp_path / "c", seed=1)
    assert digest(first) == digest(tmp_path / "b") != digest(other)
    calls.clear()
    assert make_sample(tmp_path / "a", progress=lambda *call: calls.append(call)) == first
    assert calls == [], "it is there already"
    assert visible(tmp_path) == [".a.lock", "a", "b", "c"] or visible(tmp_path) == ["a", "b", "c"]


def test_older_version_is_made_anew(small, tmp_path):
    root = make_sample(tmp_path / "sample")
    right = digest(root)
    marker = root / "altub-sample.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"version": 0}))
    next(root.rglob("*.png")).unlink()
    make_sample(root)
    assert digest(root) == right
    assert visible(tmp_path) == ["sample"]


def test_folder_with_something_else_is_left_alone(small, tmp_path):
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="something else"):
        make_sample(tmp_path / "sample")
    assert (tmp_path / "sample" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, DiskFullError), (errno.EACCES, DataError)], ids=["full", "not allowed"]
)
def test_disk_trouble_leaves_nothing(small, tmp_path, monkeypatch, number, expected):
    from PIL import Image

    save, saved = Image.Image.save, []

    def failing(self, *args, **kwargs):
        saved.append(args)
        if len(saved) > 3:
            raise OSError(number, "as the system says it")
        save(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", failing)
    with pytest.raises(expected) as caught:
        make_sample(tmp_path / "sample")
    assert type(caught.value) is expected
    assert visible(tmp_path) == []


def test_two_processes_make_it_once(tmp_path):
    code = """
import sys
from altub.data import sample
sample._TRAIN_GOOD = sample._TEST_GOOD = 4
sample._TEST_EACH_DEFECT = 0
sample.SAMPLE_CATEGORIES = {"fabric": ()}
calls = []
sample.make_sample(sys.argv[1], progress=lambda *call: calls.append(call))
print(len(calls))
"""
    start = [sys.executable, "-c", code, str(tmp_path / "sample")]
    processes = [subprocess.Popen(start, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    drawn = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(drawn) == [0, 8]
    assert visible(tmp_path) == ["sample"]
    assert len(list((tmp_path / "sample").rglob("*.png"))) == 8
