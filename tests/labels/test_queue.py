"""What a queue shows: orders, random draws, stored probabilities, and several people."""

from __future__ import annotations

import io
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from altub.errors import LabelError
from altub.labels.leases import LEASE_SECONDS
from altub.labels.queue import RANDOM_SHARE, Queue
from altub.labels.store import LabelStore
from altub.labels.weights import importance_weights
from tests.labels.conftest import add_pictures, propose

MODEL = "m" * 64


@pytest.fixture
def scored(store: LabelStore) -> tuple[LabelStore, list[str]]:
    images = add_pictures(store, 30)
    propose(store, images, list(np.linspace(0, 2.9, 30)))
    return store, images


def queue(store: LabelStore, order: str = "anomalous", who: str = "ann", seed: int = 0, **more) -> Queue:
    return Queue(store, who, model=MODEL, order=order, threshold=1.0, rng=random.Random(seed), **more)


def stored(store: LabelStore) -> list[dict]:
    return [dict(row) for row in store.db.rows("SELECT * FROM showings ORDER BY id")]


@pytest.mark.parametrize("order", ["nearest", "anomalous", "newest", "diverse"])
def test_an_order_prefers_what_it_says_and_keeps_the_probability(scored, order: str) -> None:
    store, images = scored
    one = queue(store, order)
    first = {"nearest": images[10], "anomalous": images[29], "newest": images[29], "diverse": None}[order]
    found = one.store.db.rows("SELECT i.id, i.sha256, p.score FROM images i JOIN proposals p ON p.image = i.id")
    preference = one._preference(found)
    if first is not None:
        assert found[int(preference.argmin())]["sha256"] == first
    shown = [one.next() for _ in range(30)]
    assert sorted(s.image for s in shown) == sorted(images), "each once"
    harmonic = [sum(1 / r for r in range(1, n + 1)) for n in range(30, 0, -1)]
    for showing, row, h in zip(shown, stored(store), harmonic, strict=True):
        assert row["probability"] == showing.probability and row["reason"] in (order, "random")
        n = row["candidates"]
        rank = 0.8 / h / (showing.probability - RANDOM_SHARE / n)
        assert abs(rank - round(rank)) < 1e-6 and 1 <= round(rank) <= n
    assert [row["candidates"] for row in stored(store)] == list(range(30, 0, -1))


def test_diverse_looks_for_what_differs_from_what_was_seen(store: LabelStore) -> None:
    def plain(grey: int) -> str:
        file = io.BytesIO()
        Image.new("L", (9, 9), grey).save(file, "PNG")
        return store.images.add(file.getvalue()).sha256

    dark = [plain(grey) for grey in (0, 1, 2, 3)]
    bright = plain(250)
    store.labels.add(dark[0], "ann", "good")
    one = queue(store, "diverse")
    found = store.db.rows("SELECT id, sha256 FROM images WHERE id > 1")
    assert found[int(one._preference(found).argmin())]["sha256"] == bright


def test_one_in_five_is_a_uniform_draw_and_frequencies_are_the_stored_probabilities(scored) -> None:
    store, images = scored
    reasons, firsts = Counter(), Counter()
    expected = None
    for seed in range(400):
        with pytest.raises(ZeroDivisionError), store.db.write():  # rolled back: every first showing is the same choice
            showing = queue(store, seed=seed).next()
            reasons[showing.reason] += 1
            firsts[showing.image] += 1
            if showing.image == images[29]:
                expected = showing.probability
            raise ZeroDivisionError
    assert 0.14 < reasons["random"] / 400 < 0.26
    assert abs(firsts[images[29]] / 400 - expected) < 0.08
    assert stored(store) == []


def test_a_draw_that_meets_a_labelled_image_is_kept_and_costs_nobody(scored) -> None:
    store, images = scored
    for image in images[:20]:
        store.labels.add(image, "ann", "good")
    one = queue(store, "random")
    while one.next() is not None and len(stored(store)) < 10:
        pass
    rows = store.db.rows("SELECT image FROM draws ORDER BY id")
    drawn = [row["image"] for row in rows]
    assert len(set(drawn)) == len(drawn) > 10, "labelled ones among them"
    assert drawn[-1] == stored(store)[9]["image"]
    assert {row["image"] for row in stored(store)} == set(range(21, 31)) <= set(drawn)


def test_two_people_get_different_images(scored) -> None:
    store, _ = scored
    now = 0.0
    store.leases.clock = lambda: now
    ann, bob = queue(store), queue(store, who="bob", seed=1)
    given = [person.next().image for _ in range(15) for person in (ann, bob)]
    assert len(set(given)) == 30
    assert ann.next() is None and bob.next() is None, "all are looked at"
    assert [showing.image for showing in ann.open()] == given[::2]
    showing = ann.open()[0]
    label = store.labels.add(showing.image, "ann", "good", showing=showing.id)
    assert len(ann.open()) == 14 and ann.left() == 29
    now += LEASE_SECONDS + 1
    again = bob.next()
    assert again.reason == "again" and again.probability is None and again.image == given[1], "oldest first"
    store.labels.undo(label.event, "ann")
    assert ann.left() == 30


def test_a_queue_of_a_source_stays_there(store: LabelStore) -> None:
    add_pictures(store, 3, source="a")
    add_pictures(store, 3, first=3, source="b")
    one = Queue(store, "ann", source="b")
    given = [one.next() for _ in range(4)]
    assert given[3] is None and {store.images.get(s.image).source for s in given[:3]} == {"b"}


@pytest.mark.parametrize(
    "wrong", [{"order": "oddest"}, {"order": "anomalous"}, {"order": "nearest", "model": MODEL}, {"random_share": 0.1}]
)
def test_what_an_order_needs_must_be_given(store: LabelStore, wrong: dict) -> None:
    with pytest.raises(LabelError):
        Queue(store, "ann", **wrong)


def test_importance_weights_make_a_biased_queue_unbiased() -> None:
    """30 of 60 are shown, mostly those with large values; the plain mean is far off, the weighted one is not."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, 60)
    plain, weighted = [], []
    for _ in range(600):
        left, shown, chances, counts = list(range(60)), [], [], []
        for _ in range(30):
            ranks = np.argsort(np.argsort(-values[left])) + 1
            q = 0.2 / len(left) + 0.8 / ranks / (1 / ranks).sum()
            place = rng.choice(len(left), p=q)
            chances.append(q[place])
            counts.append(len(left))
            shown.append(values[left.pop(place)])
        weights = importance_weights(np.array(chances), np.array(counts))
        assert weights.min() >= 0 and weights.max() <= 5 + 1e-9
        plain.append(np.mean(shown))
        weighted.append(np.mean(weights * shown))
    error = np.std(weighted) / np.sqrt(len(weighted))
    assert abs(np.mean(weighted) - values.mean()) < 4 * error < 0.04
    assert np.mean(plain) - values.mean() > 0.2
