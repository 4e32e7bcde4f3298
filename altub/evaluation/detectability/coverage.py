"""How often the bound a90/95 holds: many simulated experiments whose true a90 is known.

    python -m altub.evaluation.detectability.coverage --experiments 2000

A bound at 95 % should lie above the true a90 in 95 % of the experiments; one that is not determined promises nothing
and counts as holding.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np
from scipy import integrate, optimize, special, stats

from altub.evaluation.detectability.pod import fit_pod

__all__ = ["CASES", "Case", "simulate_coverage"]


@dataclass(frozen=True)
class Case:
    """Experiments of one kind.

    Attributes:
        trials: defects tried in an experiment.
        images: good images they are drawn on, in turn.
        spread: how much the images differ: standard deviation of their logits.
        steepness: slope of the logit over log size.
        middle: the size of which half are found (at an average image); tried are 1.5 to 51.
    """

    trials: int
    images: int
    spread: float = 0.0
    steepness: float = 3.0
    middle: float = 8.0

    def true_size(self, probability: float) -> float:
        """The size that is found with this probability, over all images."""

        def excess(log_size: float) -> float:
            return self._pod(log_size) - probability

        return math.exp(optimize.brentq(excess, -20, 20))

    def _pod(self, log_size: float) -> float:
        logit = self.steepness * (log_size - math.log(self.middle))
        if not self.spread:
            return float(special.expit(logit))
        value, _ = integrate.quad(lambda u: stats.norm.pdf(u) * special.expit(logit + self.spread * u), -8, 8)
        return value

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sizes, hits and images of one experiment."""
        sizes = np.exp(rng.permutation(np.linspace(math.log(1.5), math.log(51), self.trials)))
        images = np.arange(self.trials) % self.images
        logits = self.steepness * np.log(sizes / self.middle) + rng.normal(0, 1, self.images)[images] * self.spread
        return sizes, rng.random(self.trials) < special.expit(logits), images


CASES = (
    Case(60, 60),
    Case(60, 60, steepness=6.0),
    Case(60, 60, middle=16.0),
    Case(300, 300),
    Case(60, 20),
    Case(300, 23),
    Case(300, 23, spread=1.0),
    Case(300, 60, spread=1.0),
    Case(60, 20, spread=1.0),
)


def simulate_coverage(case: Case, experiments: int, seed: int = 0) -> tuple[float, float]:
    """Share of experiments whose a90/95 is not below the true a90, and share in which it is no size that was tried."""
    rng = np.random.default_rng(seed)
    truth = case.true_size(0.9)
    bounds = [fit_pod(*case.draw(rng)).bound_at(0.9) for _ in range(experiments)]
    none = sum(bound is None or math.isinf(bound) for bound in bounds)
    held = sum(bound is None or bound >= truth for bound in bounds)
    return held / experiments, none / experiments


def main() -> None:
    parser = argparse.ArgumentParser(description="How often the bound a90/95 holds.")
    parser.add_argument("--experiments", type=int, default=2000)
    experiments = parser.parse_args().experiments
    print("| defects | good images | images differ by | steepness | true a50 | true a90 | a90/95 holds | no bound |")
    print("|---|---|---|---|---|---|---|---|")
    for case in CASES:
        held, none = simulate_coverage(case, experiments)
        sizes = f"{case.true_size(0.5):.1f} | {case.true_size(0.9):.1f}"
        what = f"{case.trials} | {case.images} | {case.spread:g} | {case.steepness:g} | {sizes}"
        print(f"| {what} | {held:.3f} | {none:.3f} |", flush=True)


if __name__ == "__main__":
    main()
