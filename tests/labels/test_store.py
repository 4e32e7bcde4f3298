"""Images by content, proposals, events that are only appended, and leases."""

from __future__ import annotations

import hashlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from altub.errors import DiskFullError, ImageError, LabelError
from altub.labels.leases import LEASE_SECONDS
from altub.labels.store import LabelStore
from tests.labels.conftest import add_pictures, picture, propose


def test_an_image_is_its_content(store: LabelStore) -> None:
    first = store.images.add(picture(1), name="a.png", source="line 1")
    again = store.images.add(picture(1), name="b.png", source="line 2")
    assert again == first and first.name == "a.png" and first.size == (12, 8) and first.suffix == ".png"
    assert first.sha256 == hashlib.sha256(picture(1)).hexdigest()
    assert store.images.path(first.sha256).read_bytes() == picture(1)
    other = store.images.add(picture(2), source="line 2")
    assert store.images.all("line 2") == [other] and store.images.sources() == {"line 1": 1, "line 2": 1}


def test_what_is_no_image_is_not_stored(store: LabelStore) -> None:
    with pytest.raises(ImageError):
        store.images.add(b"text", name="a.png")
    assert store.images.all() == [] and list(store.objects) == []
    with pytest.raises(LabelError, match="no such image"):
        store.labels.add("0" * 64, "ann", "good")


def test_the_newest_label_counts_and_an_undo_brings_back_the_one_before(store: LabelStore) -> None:
    (image,) = add_pictures(store, 1)
    mask = np.zeros((8, 12), bool)
    mask[2:5, 3] = True
    first = store.labels.add(image, "ann", "defect", defect_type="  fine  scratch ", mask=mask, note="left")
    second = store.labels.add(image, "ann", "good")
    assert store.labels.of(image) == second and store.labels.history(image) == [first, second]
    store.labels.undo(second.event, "ann")
    assert store.labels.of(image) == first == store.labels.last_by("ann") and first.defect_type == "fine scratch"
    assert np.array_equal(store.labels.mask(first), mask)
    with pytest.raises(LabelError, match="taken back before"):
        store.labels.undo(second.event, "ann")
    assert store.labels.counts() == {"good": 0, "defect": 1, "unsure": 0, "events": 3}
    assert store.labels.defect_types() == {"fine scratch": 1}


def test_text_that_is_no_text_is_stored_readably(store: LabelStore) -> None:
    image = store.images.add(picture(0), name="\udcff.png", source="\udcff")
    store.labels.add(image.sha256, "ann", "good", note="\udcff")
    assert (image.name, image.source, store.labels.of(image.sha256).note) == ("\ufffd.png", "\ufffd", "\ufffd")


def test_threads_share_a_store(store: LabelStore) -> None:
    images = add_pictures(store, 4)
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda n: store.labels.add(images[n % 4], f"person {n % 3}", "good").event, range(40))
    assert sorted(done) == list(range(1, 41)) and store.labels.counts()["events"] == 40


def test_two_people_do_not_overwrite_each_other(store: LabelStore) -> None:
    one, two = add_pictures(store, 2)
    theirs = store.labels.add(one, "ann", "good")
    store.labels.add(one, "bob", "defect")
    store.labels.add(two, "ann", "good")
    store.labels.add(two, "bob", "good")
    assert [label.who for label in store.labels.history(one)] == ["ann", "bob"]
    assert store.labels.disputed() == {one} and store.labels.people() == {"ann": 2, "bob": 2}
    with pytest.raises(LabelError, match="is ann's"):
        store.labels.undo(theirs.event, "bob")


@pytest.mark.parametrize("change", ["UPDATE events SET verdict = 'good'", "DELETE FROM events"])
def test_events_cannot_be_changed(store: LabelStore, change: str) -> None:
    (image,) = add_pictures(store, 1)
    store.labels.add(image, "ann", "defect")
    with pytest.raises(sqlite3.IntegrityError, match="only ever appended"), store.db.write() as connection:
        connection.execute(change)
    assert store.labels.of(image).verdict == "defect"


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("no verdict", {"verdict": "bad"}),
        ("Only a defect", {"verdict": "good", "defect_type": "dent"}),
        ("cannot be a defect type", {"verdict": "defect", "defect_type": "../dent"}),
        ("cannot be a defect type", {"verdict": "defect", "defect_type": "Good"}),
        ("12 x 9 pixels and the image 12 x 8", {"verdict": "defect", "mask": np.zeros((9, 12), bool)}),
        ("belongs to another image", {"verdict": "good", "showing": 1}),
        ("mask cannot be read", {"verdict": "defect", "mask": b"text"}),
        ("kept with a name", {"verdict": "good", "who": " "}),
        ("2,001 characters", {"verdict": "good", "note": "n" * 2001}),
    ],
)
def test_labels_that_cannot_be_are_refused(store: LabelStore, words: str, values: dict) -> None:
    (image,) = add_pictures(store, 1)
    with pytest.raises(LabelError, match=words):
        store.labels.add(image, **{"who": "ann", **values})
    assert store.labels.of(image) is None


def test_proposals_keep_their_maps(store: LabelStore) -> None:
    images = add_pictures(store, 3)
    propose(store, images[:2], [0.5, -1.25])
    kept = store.proposals.get(images[1], "m" * 64)
    assert (kept.score, kept.peak) == (-1.25, -1.25)
    assert np.array_equal(store.proposals.map(kept), np.full((4, 6), -1.25, np.float32))
    assert store.proposals.missing("m" * 64) == images[2:] and store.proposals.missing("n" * 64) == images
    store.proposals.add(images[1], "m" * 64, 9.0, 0.1, np.zeros((2, 2)))
    assert store.proposals.get(images[1], "m" * 64) == kept, "labels may name it: it stays as it was"


def test_a_lease_keeps_others_away_until_it_ends(store: LabelStore) -> None:
    (image,) = add_pictures(store, 1)
    now = 1000.0
    store.leases.clock = lambda: now
    assert store.leases.take(image, "ann") and not store.leases.take(image, "bob")
    now += LEASE_SECONDS - 1
    assert store.leases.take(image, "ann"), "renewed"
    now += LEASE_SECONDS - 1
    assert not store.leases.take(image, "bob") and store.leases.holder(image) == "ann"
    now += 1
    assert store.leases.take(image, "bob") and not store.leases.take(image, "ann")
    store.leases.release(image, "ann")
    assert store.leases.holder(image) == "bob"
    store.labels.add(image, "bob", "good")
    assert store.leases.holder(image) is None, "a label ends it"


def test_a_full_disk_is_one_sentence_and_loses_nothing(store: LabelStore) -> None:
    images = add_pictures(store, 40)
    pages = store.db.row("PRAGMA page_count")[0]
    store.db.rows(f"PRAGMA max_page_count = {pages}")
    stored = []
    with pytest.raises(DiskFullError, match=r"^The disk is full: labels\.db could not be written"):
        for image in images * 50:
            stored.append(store.labels.add(image, "ann", "good", note="n" * 100).event)
    assert stored, "some had room"
    assert [row["id"] for row in store.db.rows("SELECT id FROM events ORDER BY id")] == stored
    store.db.rows(f"PRAGMA max_page_count = {pages + 1000}")
    assert store.labels.add(images[0], "ann", "unsure").event == stored[-1] + 1
