"""Uploaded images become a folder, by names that cannot lead out of it."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.errors import AltUBError, DataError
from altub.ui.train.data_source import OWN, find_category
from altub.ui.train.uploads import (
    list_uploads,
    remove_image,
    removed_images,
    restore_image,
    safe_name,
    store_upload,
    upload_folder,
)


def picture(path: Path, value: int = 128) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), value, np.uint8)).save(path)
    return path


@pytest.mark.parametrize("name", ["../../etc", "..", ".hidden", "a/b", "a\\b", "/abs", "x" * 300, "nul\0l", "Füße 3"])
def test_no_name_leads_out_of_the_uploads(name: str, data: Path, tmp_path: Path) -> None:
    safe = safe_name(name)
    assert not re.search(r"[/\\.\0]", safe) and len(safe) <= 40
    if safe:
        stored = store_upload(name, [picture(tmp_path / "a.png")])
        assert upload_folder(stored.name).parent == data / "uploads"


@pytest.mark.parametrize("name", ["", "...", "/", "__"])
def test_a_name_must_have_something_in_it(name: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name"):
        store_upload(name, [picture(tmp_path / "a.png")])


def test_originals_are_kept_byte_by_byte(data: Path, tmp_path: Path) -> None:
    good = [picture(tmp_path / f"{k}.png", k) for k in range(3)]
    store_upload("lids", good, [picture(tmp_path / "bad one.PNG", 200)])
    stored = sorted((data / "uploads/lids/good").iterdir())
    assert [path.read_bytes() for path in stored] == [path.read_bytes() for path in good]
    assert [path.name for path in (data / "uploads/lids/defect").iterdir()] == ["bad-one.png"]
    category = find_category(OWN, "upload:lids").load()
    assert len(category.defective) == 1


def test_what_is_no_image_is_named_and_the_rest_is_kept(data: Path, tmp_path: Path) -> None:
    text, pretender = tmp_path / "notes.txt", tmp_path / "broken.png"
    text.write_text("hello")
    pretender.write_bytes(b"not a png")
    stored = store_upload("lids", [text, picture(tmp_path / "a.png"), pretender])
    assert stored.good == 1
    assert "notes.txt" in stored.summary and "broken.png" in stored.summary


def test_only_rubbish_stores_nothing(data: Path, tmp_path: Path) -> None:
    pretender = tmp_path / "broken.png"
    pretender.write_bytes(b"not a png")
    with pytest.raises(DataError, match=r"broken\.png"):
        store_upload("lids", [pretender])
    assert list_uploads() == []


def test_adding_to_a_set_keeps_names_apart_and_counts_doubles(data: Path, tmp_path: Path) -> None:
    store_upload("lids", [picture(tmp_path / "one/a.png", 1)])
    stored = store_upload("lids", [picture(tmp_path / "two/a.png", 2), picture(tmp_path / "three/a.png", 1)])
    assert (stored.good, stored.known) == (1, 1)
    assert sorted(path.name for path in (data / "uploads/lids/good").iterdir()) == ["a-2.png", "a.png"]


def test_a_file_name_cannot_hide_or_escape(data: Path, tmp_path: Path) -> None:
    store_upload("lids", [picture(tmp_path / "..hidden;rm -rf.png")])
    (path,) = (data / "uploads/lids/good").iterdir()
    assert re.fullmatch(r"[\w\-]+\.png", path.name)


def test_a_full_disk_leaves_nothing_half(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(AltUBError, match="full"):
        store_upload("lids", [picture(tmp_path / "a.png")])
    assert list((data / "uploads/lids/good").iterdir()) == []


def test_an_image_is_taken_out_and_put_back(data: Path, tmp_path: Path) -> None:
    store_upload("lids", [picture(tmp_path / f"{k}.png", 40 * k) for k in range(3)])
    folder = upload_folder("lids") / "good"
    names = sorted(path.name for path in folder.iterdir())
    digest = hashlib.sha256((folder / names[0]).read_bytes()).hexdigest()
    assert remove_image("lids", digest) == names[0]
    assert sorted(path.name for path in folder.iterdir()) == names[1:]
    assert [found for _, found in removed_images("lids")] == [digest]
    with pytest.raises(DataError, match="not in the set"):
        remove_image("lids", digest)
    assert restore_image("lids", digest) == names[0]
    assert sorted(path.name for path in folder.iterdir()) == names and removed_images("lids") == []
    for call in (remove_image, restore_image):
        with pytest.raises(DataError):
            call("../lids", digest)
        with pytest.raises(DataError):
            call("lids", "../good")
    for path in list(folder.iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="last good image"):
        remove_image("lids", hashlib.sha256(next(folder.iterdir()).read_bytes()).hexdigest())
