"""Thresholds from labels keep their promise, or say that none can be promised."""

from __future__ import annotations

import numpy as np
import pytest

from altub.errors import ConfigError, LabelError
from altub.inference.threshold import Threshold
from altub.labels.bounds import betting_p_value, binomial_p_value, needed_images
from altub.labels.queue import Queue
from altub.labels.sample import read_sample
from altub.labels.store import LabelStore
from altub.labels.thresholds import NoPromiseError, cheapest_threshold, promised_threshold
from tests.labels.conftest import add_pictures, propose
from tests.labels.coverage import evidence, simulate
from tests.labels.test_curves import sample

MODEL = "m" * 64


@pytest.mark.parametrize("target", ["recall", "false-alarm-rate"])
@pytest.mark.parametrize(
    ("scenario", "peek"),
    [("everything", False), ("biased queue", False), ("biased queue", True), ("thinned production", False)],
)
def test_promises_are_kept(scenario: str, target: str, peek: bool) -> None:
    """In short; `python -m tests.labels.coverage` makes 1,000 draws."""
    done = simulate(scenario, target, 30 if peek else 60, peek=peek)
    assert done.is_kept, done
    assert done.promised >= done.draws / 4, "a promise that is never made is easily kept"


@pytest.mark.parametrize(("scenario", "target"), [("biased queue", "recall"), ("thinned production", "recall")])
def test_the_simulation_sees_promises_broken(scenario: str, target: str) -> None:
    """Labels that were chosen by their score, taken for a random sample."""
    done = simulate(scenario, target, 30)
    assert done.naive > 10, done


def test_tests_at_known_points() -> None:
    assert binomial_p_value(0, 45, 0.05) == pytest.approx(0.95**45) and binomial_p_value(10, 10, 0.05) == 1
    assert needed_images(0.05, 0.1, sequential=False) == 45
    needed = needed_images(0.05, 0.1, sequential=True)
    assert betting_p_value(np.zeros(needed), 0.05, np.ones(needed)) <= 0.1
    assert betting_p_value(np.zeros(needed - 1), 0.05, np.ones(needed - 1)) > 0.1
    # What came before stays proven, and the other class says nothing.
    later = np.concatenate([np.zeros(needed), np.ones(50)])
    assert betting_p_value(later, 0.05, np.ones(needed + 50)) <= 0.1
    counts = np.arange(2 * needed) % 2 == 0
    losses = np.where(counts, 0.0, 1.0)
    assert betting_p_value(losses, 0.05, np.ones(2 * needed), counts) <= 0.1
    # A loss that stands for four weighs more than one that stands for one.
    losses = np.zeros(100)
    losses[0] = 1
    heavy, light = np.full(100, 0.25), np.full(100, 1.0)
    heavy[0] = 1.0
    assert betting_p_value(losses, 0.2, heavy) > betting_p_value(losses, 0.2, light)


def test_the_best_threshold_that_is_promised() -> None:
    """60 defective and 100 good images, all labelled: exact binomial tests, by hand."""
    scores = np.concatenate([np.arange(100.0), 90.5 + np.arange(60)])
    labels = np.repeat([0, 1], [100, 60])
    chosen = evidence(scores, labels, complete=True)
    threshold = promised_threshold(chosen, "recall", 0.9, confidence=0.9, pixel_value=-0.5)
    missed = int((scores[labels == 1] <= threshold.value).sum())
    assert binomial_p_value(missed, 60, 0.1) <= 0.1 < binomial_p_value(missed + 1, 60, 0.1) and missed > 0
    assert (threshold.origin.n_good, threshold.origin.n_defective, threshold.pixel_value) == (100, 60, -0.5)
    assert "90 % confidence at least 90 % of defective" in threshold.origin.promise
    threshold = promised_threshold(chosen, "false-alarm-rate", 0.05, confidence=0.9, pixel_value=0)
    false_alarms = int((scores[labels == 0] > threshold.value).sum())
    assert binomial_p_value(false_alarms, 100, 0.05) <= 0.1 < binomial_p_value(false_alarms + 1, 100, 0.05)


def test_too_few_labels_promise_nothing_and_say_how_many_it_takes() -> None:
    chosen = evidence(np.arange(20.0), np.repeat([0, 1], 10), complete=True)
    with pytest.raises(NoPromiseError, match=r"10 defective images among .* at least 45 are needed") as caught:
        promised_threshold(chosen, "recall", 0.95, confidence=0.9, pixel_value=0)
    assert (caught.value.labelled, caught.value.needed) == (10, 45)
    nothing = evidence(np.zeros(0), np.zeros(0, int), complete=False)
    with pytest.raises(NoPromiseError, match=r"0 good images"):
        promised_threshold(nothing, "false-alarm-rate", 0.1, pixel_value=0)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        promised_threshold(chosen, "recall", 1.0, pixel_value=0)


def test_images_drawn_and_not_labelled_count_against_the_threshold() -> None:
    at = {"level": 0.2, "confidence": 0.9, "pixel_value": 0}
    values = []
    for high in (0.0, 3.0):  # scores of twelve that have no label, among 120 good ones
        scores, labels = np.linspace(0, 1, 120), np.zeros(120, int)
        scores[::10], labels[::10] = high, -1
        values.append(promised_threshold(evidence(scores, labels, complete=False), "false-alarm-rate", **at).value)
    assert values[0] < values[1] <= 1


def test_evidence_is_what_was_drawn_at_random(store: LabelStore) -> None:
    images = add_pictures(store, 40)
    propose(store, images[:39], list(np.linspace(0, 3.8, 39)))
    for image in images[30:]:  # by hand, because they look odd
        store.labels.add(image, "ann", "defect")
    queue = Queue(store, "ann", model=MODEL, order="random")
    for number in range(8):
        showing = queue.next()
        verdict = "unsure" if number == 3 else "good"
        store.labels.add(showing.image, "ann", verdict, showing=showing.id)
    queue.next()  # on the screen
    sample = read_sample(store, MODEL)
    rows = store.db.rows("SELECT i.sha256 FROM draws AS d JOIN images AS i ON i.id = d.image ORDER BY d.id")
    drawn = [row["sha256"] for row in rows]
    labels = store.labels.all()
    expected = [image for image in drawn[:-1] if image != images[39] and labels[image].verdict != "unsure"]
    while expected and expected[-1] not in labels:
        expected.pop()
    assert list(sample.evidence.images) == expected and not sample.evidence.complete
    assert set(sample.evidence.labels.tolist()) <= {0, 1} and (sample.evidence.labels == 0).sum() == 7
    assert len(sample.images) == 7 + 9 and (sample.scored, sample.unscored) == (39, 1)
    for image in images[:30]:
        if image not in labels:
            store.labels.add(image, "ann", "good")
    assert read_sample(store, MODEL).evidence.complete and len(read_sample(store, MODEL).evidence.images) == 38


def test_labels_stand_for_the_images_that_the_queue_did_not_show(store: LabelStore) -> None:
    images = add_pictures(store, 12)
    propose(store, images, list(np.linspace(0, 1, 12)))
    for image in images[:2]:
        store.labels.add(image, "ann", "good")  # by hand
    queue = Queue(store, "ann", model=MODEL, order="random")
    for _ in range(4):
        showing = queue.next()
        store.labels.add(showing.image, "ann", "defect", showing=showing.id)
    sample = read_sample(store, MODEL)
    assert sample.weights[~sample.is_defective].tolist() == [1, 1]
    assert sample.weights[sample.is_defective].tolist() == pytest.approx([10 / 4] * 4)


def test_the_cheapest_threshold() -> None:
    known = sample([0, 1, 2, 3, 4, 5], [0, 0, 1, 0, 1, 1])
    assert cheapest_threshold(known, 10, pixel_value=0).value == 1.5, "misses none"
    cheap = cheapest_threshold(known, 0.1, pixel_value=0)
    assert cheap.value == 3.5 and cheap.origin.target == "cost" and "promises no rate" in cheap.origin.promise
    assert Threshold.from_dict(cheap.to_dict()) == cheap
    assert cheapest_threshold(known, 2, pixel_value=0, defect_share=0.01).value == 3.5
    with pytest.raises(LabelError, match="both kinds"):
        cheapest_threshold(sample([0, 1], [0, 0]), 1, pixel_value=0)
