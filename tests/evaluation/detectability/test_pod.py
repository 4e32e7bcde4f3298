"""The curve against scikit-learn and a slow search, its degenerate cases, and how often its bound holds."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from altub.evaluation.detectability import fit_pod, pod
from altub.evaluation.detectability.coverage import CASES, Case, simulate_coverage


def simulated(trials: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    sizes, hits, _ = Case(trials, trials).draw(np.random.default_rng(seed))
    return sizes, hits


def penalised(pair: np.ndarray, sizes: np.ndarray, hits: np.ndarray) -> float:
    """The definition: log-likelihood and half the logarithm of the information's determinant."""
    total, information = 0.0, np.zeros((2, 2))
    for size, hit in zip(sizes, hits, strict=True):
        row = np.array([1.0, math.log(size)])
        p = 1 / (1 + math.exp(-row @ pair))
        total += math.log(p if hit else 1 - p)
        information += p * (1 - p) * np.outer(row, row)
    return total + 0.5 * math.log(np.linalg.det(information))


def test_with_many_trials_it_is_the_maximum_likelihood() -> None:
    sizes, hits = simulated(3000)
    usual = LogisticRegression(C=np.inf, tol=1e-10).fit(np.log(sizes)[:, None], hits)
    curve = fit_pod(sizes, hits)
    assert curve.slope == pytest.approx(usual.coef_[0, 0], rel=0.01)
    assert curve.intercept == pytest.approx(usual.intercept_[0], rel=0.01)
    assert curve.size_at(0.5) == pytest.approx(8, rel=0.1) and curve.size_at(0.9) == pytest.approx(16.6, rel=0.1)


def test_estimate_and_bound_by_a_slow_search() -> None:
    sizes, hits = simulated(60)
    curve = fit_pod(sizes, hits)
    best = optimize.minimize(lambda pair: -penalised(pair, sizes, hits), [-4, 2], method="Nelder-Mead", tol=1e-9)
    assert (curve.intercept, curve.slope) == pytest.approx(tuple(best.x), rel=1e-4)

    def ratio_at(size: float) -> float:
        """Twice the log-likelihood ratio, if 90 % of defects of this size were found."""
        found = optimize.minimize_scalar(
            lambda slope: -penalised(np.array([math.log(9) - slope * math.log(size), slope]), sizes, hits),
            bounds=(0.1, 20),
            method="bounded",
            options={"xatol": 1e-8},
        )
        return 2 * (found.fun - best.fun)

    # 2.706: chi-squared of one degree of freedom at 90 %, so that each side is left out with 5 %.
    bound = optimize.brentq(lambda size: ratio_at(size) - 2.7055, curve.size_at(0.9), 200)
    assert curve.bound_at(0.9) == pytest.approx(bound, rel=1e-3)
    low, high = curve.band(np.array([bound, curve.size_at(0.9)]))
    assert low[0] == pytest.approx(0.9, abs=1e-3) and low[1] < 0.9 < high[1]


def test_sizes_may_have_any_unit_and_order() -> None:
    sizes, hits = simulated(100)
    back = np.arange(100)[::-1]
    curve, other = fit_pod(sizes, hits), fit_pod(0.05 * sizes[back], hits[back])
    assert other.bound_at(0.9) == pytest.approx(0.05 * curve.bound_at(0.9), rel=1e-6)


def test_separated_sizes_have_a_finite_curve() -> None:
    sizes = np.geomspace(1, 50, 40)
    curve = fit_pod(sizes, sizes > 7)
    assert 6 < curve.size_at(0.5) < 8 and math.isfinite(curve.slope)
    assert curve.size_at(0.9) < curve.bound_at(0.9) < 20


def test_all_none_and_no_relation() -> None:
    sizes = np.geomspace(1, 50, 40)
    every, none = fit_pod(sizes, sizes > 0), fit_pod(sizes, sizes < 0)
    assert (every.size_at(0.9), every.bound_at(0.9)) == (0, None) and every.pod(sizes) is None
    assert (none.size_at(0.9), none.bound_at(0.9)) == (math.inf, math.inf) and none.band(sizes) is None
    mixed = fit_pod(sizes, np.arange(40) % 2 == 0)
    assert not mixed.rises and (mixed.size_at(0.9), mixed.bound_at(0.9)) == (None, None)
    falling = fit_pod(sizes, sizes < 7)
    assert not falling.rises and falling.size_at(0.5) is None
    few = fit_pod(sizes, sizes > 40)
    assert few.size_at(0.5) > 30 and few.bound_at(0.9) == math.inf, "beyond the largest size tried"


def test_trials_on_few_images_have_a_wider_band() -> None:
    case = Case(200, 10, spread=2.0)
    sizes, hits, images = case.draw(np.random.default_rng(2))
    assert fit_pod(sizes, hits, images).bound_at(0.9) > 1.1 * fit_pod(sizes, hits).bound_at(0.9)
    assert fit_pod(sizes, hits, np.arange(200)).bound_at(0.9) == fit_pod(sizes, hits).bound_at(0.9)


@pytest.mark.parametrize(("sizes", "hits"), [([], []), ([1, 2], [True]), ([0, 1], [True, False]), ([3, 3], [0, 1])])
def test_what_is_no_experiment_is_refused(sizes: list, hits: list) -> None:
    with pytest.raises(ValueError):
        fit_pod(sizes, hits)


@pytest.mark.parametrize(("case", "experiments"), [(CASES[0], 150), (Case(60, 20, spread=1.0), 150)])
def test_the_bound_holds_as_often_as_it_says(case: Case, experiments: int) -> None:
    """In short; docs/detectability.md has the figures of many. By chance alone 150 experiments give 0.95 ± 0.018."""
    held, undetermined = simulate_coverage(case, experiments, seed=1)
    assert 0.9 <= held <= 0.995
    assert undetermined < 0.25, "a bound that always holds says nothing"


def test_examples_run() -> None:
    assert doctest.testmod(pod).failed == 0
