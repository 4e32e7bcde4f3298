"""Labelled good images make p-values finer and keep them exact."""

from __future__ import annotations

import numpy as np

from altub.inference.calibration import Calibration
from altub.labels.calibration import extended_calibration
from altub.labels.queue import Queue
from altub.labels.sample import read_sample
from altub.labels.store import LabelStore
from tests.labels.conftest import add_pictures, picture, propose

MODEL = "m" * 64


def held_out(n: int = 9) -> Calibration:
    return Calibration(np.linspace(0, 1, n), colour_low=-1.0, colour_high=2.0)


def test_only_random_good_labels_join(store: LabelStore) -> None:
    images = add_pictures(store, 30)
    propose(store, images, list(np.linspace(0, 1.45, 30)))
    for image in images[:10]:  # chosen by hand
        store.labels.add(image, "ann", "good")
    queue = Queue(store, "ann", model=MODEL, order="random")
    drawn = []
    for number in range(12):
        showing = queue.next()
        store.labels.add(showing.image, "ann", "good" if number else "defect", showing=showing.id)
        drawn.append(showing.image)
    evidence = read_sample(store, MODEL).evidence
    met = [image for image in evidence.images if image in images[:10]]
    extended, added = extended_calibration(held_out(), evidence, store)
    assert added == 11 + len(met) and extended.scores.size == 9 + added
    assert (extended.colour_low, extended.colour_high) == (-1.0, 2.0)
    _, fewer = extended_calibration(held_out(), evidence, store, used=drawn)
    assert fewer == len(met)
    assert extended.p_value(99.0) == 1 / (added + 10)


def test_images_that_stand_for_fewer_are_thinned(store: LabelStore) -> None:
    for number in range(80):
        often = number % 2
        image = store.images.add(picture(number), inclusion=1.0 if often else 0.25)
        propose(store, [image.sha256], [float(often)])
        store.labels.add(image.sha256, "ann", "good")
    evidence = read_sample(store, MODEL).evidence
    extended, added = extended_calibration(held_out(1), evidence, store)
    ones = int((extended.scores == 1).sum())
    assert added - ones == 40 and 2 < ones < 20, "all of a quarter's images, a quarter of the others"
    again, _ = extended_calibration(held_out(1), evidence, store)
    assert again == extended
