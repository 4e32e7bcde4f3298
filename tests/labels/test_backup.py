"""A backup is a whole store; a check finds what is missing or changed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from altub.errors import LabelError
from altub.labels.backup import back_up, check
from altub.labels.store import LabelStore
from tests.labels.conftest import add_pictures, picture, propose


@pytest.fixture
def labelled(store: LabelStore) -> LabelStore:
    images = add_pictures(store, 3)
    propose(store, images, [0.0, 1.0, 2.0])
    store.labels.add(images[0], "ann", "defect", mask=np.eye(8, 12, dtype=bool))
    return store


def test_a_backup_unpacked_is_a_store(labelled: LabelStore, tmp_path: Path) -> None:
    assert back_up(labelled, tmp_path / "backup.zip") == 3 + 3 + 1
    with zipfile.ZipFile(tmp_path / "backup.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    copy = LabelStore(tmp_path / "elsewhere" / "labels.db")
    assert check(copy).problems == () and copy.labels.all() == labelled.labels.all()
    image = copy.images.all()[0]
    assert copy.images.path(image.sha256).read_bytes() == picture(0)
    assert copy.labels.mask(copy.labels.of(image.sha256)).sum() == 8


def test_a_backup_of_a_store_with_gaps_is_refused_and_the_last_one_stays(labelled: LabelStore, tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    back_up(labelled, path)
    before = path.read_bytes()
    labelled.images.path(labelled.images.all()[2].sha256).unlink()
    with pytest.raises(LabelError, match="missing"):
        back_up(labelled, path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".labels-*")) and not list(tmp_path.glob(".backup*"))


def test_a_check_names_what_is_missing_damaged_or_unused(labelled: LabelStore) -> None:
    assert check(labelled).problems == () and check(labelled).files == 7
    first, second, _ = labelled.images.all()
    labelled.images.path(first.sha256).unlink()
    labelled.images.path(second.sha256).write_bytes(b"other")
    labelled.objects.put(b"left by a killed process")
    findings = check(labelled)
    assert [problem[:39] for problem in findings.problems] == [
        "The file of the image 0000.png is missi",
        "The file of the image 0001.png is damag",
    ]
    assert findings.unused == 1
