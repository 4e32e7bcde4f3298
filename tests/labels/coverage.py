"""How often the promise of a threshold from labels is broken, over many simulated stores.

    python -m tests.labels.coverage --draws 1000

Good images score N(0, 1), defective ones N(2, 1), so that the true rates of every threshold are known. A promise is
broken where the true rate is beyond its level; with confidence 1 - d that may happen to a share d of all stores.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, norm

from altub.labels.bounds import needed_images
from altub.labels.queue import RANDOM_SHARE, rank_chances
from altub.labels.sample import Evidence
from altub.labels.thresholds import NoPromiseError, Target, promised_threshold

SHIFT = 2.0  # of the defective images' scores
CONFIDENCE = 0.9


@dataclass(frozen=True)
class Outcome:
    """Of many draws.

    Attributes:
        draws: stores simulated; promised: those in which a threshold was promised; broken: of these, how many.
        naive: broken promises if all labels of the queue are taken for a random sample.
    """

    draws: int
    promised: int
    broken: int
    naive: int

    @property
    def is_kept(self) -> bool:
        """Are so few broken promises likely where each store breaks its own with probability 1 - confidence?"""
        return self.broken <= binom.ppf(0.999, self.draws, 1 - CONFIDENCE)


def evidence(scores: np.ndarray, labels: np.ndarray, *, weights: np.ndarray | None = None, complete: bool) -> Evidence:
    weights = np.ones(len(scores)) if weights is None else weights
    return Evidence(("",) * len(scores), scores, scores, labels, weights, complete)


def production(rng: np.random.Generator, n: int, defect_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of n images."""
    labels = (rng.random(n) < defect_share).astype(int)
    return rng.normal(SHIFT * labels, 1), labels


def everything(rng: np.random.Generator) -> tuple[Evidence, Evidence]:
    """A store in which all images are labelled."""
    scores, labels = production(rng, 200, 0.3)
    return evidence(scores, labels, complete=True), evidence(scores, labels, complete=True)


def biased_queue(rng: np.random.Generator) -> tuple[Evidence, Evidence]:
    """A queue by anomaly, left after 200 of 400 images; what was drawn, and all that was labelled."""
    scores, labels = production(rng, 400, 0.4)
    left, undrawn, drawn, shown = list(range(400)), list(rng.permutation(400)), [], []
    while len(shown) < 200:
        if rng.random() < RANDOM_SHARE:
            while True:
                drawn.append(undrawn.pop())
                if drawn[-1] in left:
                    break
            image = drawn[-1]
        else:
            image = left[rng.choice(len(left), p=rank_chances(-scores[left]))]
        left.remove(image)
        shown.append(image)
    known = [image for image in drawn if image not in left]
    return (
        evidence(scores[known], labels[known], complete=False),
        evidence(scores[shown], labels[shown], complete=False),
    )


def thinned_production(rng: np.random.Generator) -> tuple[Evidence, Evidence]:
    """Every image with a score above 1 came into the store, and one in four of the others; the store is labelled."""
    scores, labels = production(rng, 600, 0.3)
    inclusion = np.where(scores > 1, 1.0, 0.25)
    kept = rng.random(600) < inclusion
    chosen = evidence(scores[kept], labels[kept], weights=1 / inclusion[kept], complete=True)
    return chosen, evidence(scores[kept], labels[kept], complete=True)


SCENARIOS = {"everything": everything, "biased queue": biased_queue, "thinned production": thinned_production}
LEVELS: dict[Target, float] = {"recall": 0.75, "false-alarm-rate": 0.2}


def simulate(scenario: str, target: Target, draws: int, *, peek: bool = False, seed: int = 0) -> Outcome:
    """Broken promises of a scenario; `peek`: one stops labelling as soon as a threshold is promised."""
    rng, promised, broken, naive = np.random.default_rng(seed), 0, 0, 0
    for _ in range(draws):
        drawn, labelled = SCENARIOS[scenario](rng)
        value = _peeked(drawn, target) if peek else _value(drawn, target)
        promised += value is not None
        broken += _is_broken(value, target)
        naive += _is_broken(_value(labelled, target), target)
    return Outcome(draws, promised, broken, naive)


def _value(chosen: Evidence, target: Target) -> float | None:
    try:
        return promised_threshold(chosen, target, LEVELS[target], confidence=CONFIDENCE, pixel_value=0.0).value
    except NoPromiseError:
        return None


def _peeked(chosen: Evidence, target: Target) -> float | None:
    """The first threshold that is promised while the labels come in one by one."""
    rate = 1 - LEVELS[target] if target == "recall" else LEVELS[target]
    for n in range(needed_images(rate, 1 - CONFIDENCE, sequential=True), len(chosen.scores) + 1):
        part = evidence(chosen.scores[:n], chosen.labels[:n], weights=chosen.weights[:n], complete=False)
        if (value := _value(part, target)) is not None:
            return value
    return None


def false_alarm_rate(value: float) -> float:
    """The true share of good images above a threshold."""
    return float(norm.sf(value))


def _is_broken(value: float | None, target: Target) -> bool:
    if value is None:
        return False
    if target == "recall":
        return bool(norm.sf(value, loc=SHIFT) < LEVELS[target])
    return false_alarm_rate(value) > LEVELS[target]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print(f"{'scenario':<20} {'target':<17} {'peeking':<8} promised broken  taken for random: broken  (of {draws})")
    for scenario in SCENARIOS:
        for target in LEVELS:
            for peek in (False, True):
                if peek and scenario != "biased queue":
                    continue
                done = simulate(scenario, target, draws, peek=peek)
                numbers = f"{done.promised:>8} {done.broken:>6}  {done.naive:>24}"
                print(f"{scenario:<20} {target:<17} {peek!s:<8} {numbers}", flush=True)


if __name__ == "__main__":
    main()
