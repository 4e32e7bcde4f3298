"""The check of a data set finds what was put there to be found, and nothing in a sound one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.data import Category, load_category
from altub.data.review import review_images
from tests.conftest import write_category


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_category(tmp_path / "weave", good=14)


def review(folder: Path):
    return review_images(load_category(folder.parent, folder.name))


def test_a_sound_set_has_nothing_that_stands_out(folder: Path) -> None:
    found = review(folder)
    assert (found.duplicates, found.leaks, found.outliers, found.unreadable) == ((), (), [], [])
    assert len(found.images) == 22 and {image.shape for image in found.images} == {(64, 64)}
    first = found.images[0]
    assert first.size == first.sample.path.stat().st_size and len(first.sha256) == 64


def test_copies_leaks_and_outliers_are_found(folder: Path) -> None:
    good = folder / "train/good"
    (good / "copy.png").write_bytes((good / "000.png").read_bytes())
    Image.open(good / "001.png").save(folder / "test/good/again.jpg", quality=97)  # other bytes, the same picture
    Image.open(folder / "test/blot/000.png").save(good / "zz-defect.png")
    (good / "broken.png").write_bytes(b"no image")
    found = review(folder)
    assert [[image.sample.path.name for image in group] for group in found.duplicates] == [["000.png", "copy.png"]]
    pairs = {(a.sample.path.name, b.sample.path.name) for a, b in found.leaks}
    assert ("001.png", "again.jpg") in pairs and ("zz-defect.png", "000.png") in pairs and len(pairs) == 2
    assert [image.sample.path.name for image in found.outliers] == ["zz-defect.png"]
    assert [image.sample.path.name for image in found.unreadable] == ["broken.png"] and found.unreadable[0].problem


def test_the_one_among_copies_is_left_out_of_its_own_comparison() -> None:
    rng = np.random.default_rng(0)
    parts = [np.full((64, 64, 3), 120, np.uint8) + rng.integers(0, 3, (64, 64, 3), dtype=np.uint8) for _ in range(11)]
    parts[4] = parts[4].copy()
    parts[4][20:40, 20:40] = 250
    seen: list[tuple[int, int]] = []
    found = review_images(Category.from_images("plate", parts), lambda done, total: seen.append((done, total)))
    assert [image.sample.path.name for image in found.outliers] == ["good-00004"] and seen[-1] == (11, 11)
    few = review_images(Category.from_images("plate", parts[:5]))
    assert all(image.score is None for image in few.images), "too few to know what is usual"
