"""The alarm keeps its promise on streams that do not change, and finds those that do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from altub.line.martingale import ConformalRanks, SimpleJumper


def p_values(numbers: np.ndarray, seed: int = 0) -> np.ndarray:
    ranks = ConformalRanks(seed)
    return np.array([ranks.p_value(number) for number in numbers.tolist()])


@pytest.mark.parametrize("draw", [lambda rng, n: rng.standard_cauchy(n), lambda rng, n: rng.integers(0, 4, n)])
def test_p_values_of_an_unchanged_stream_are_uniform_and_independent(draw) -> None:
    """Also with heavy tails, and with ties."""
    found = p_values(draw(np.random.default_rng(1), 4000).astype(float))
    assert kstest(found, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.05


def test_p_values_are_ranks() -> None:
    found = p_values(np.array([1.0, 2.0, 0.5, 1.5]))
    assert found[1] <= 1 / 2 and found[2] >= 2 / 3 and 1 / 4 <= found[3] <= 2 / 4


def test_false_alarms_are_as_rare_as_promised() -> None:
    """1,000 streams of 2,000 uniform p-values: the capital reaches 1 / level in at most `level` of them."""
    rng, jumper = np.random.default_rng(2), SimpleJumper((1000,))
    highest = np.zeros(1000)
    for _ in range(2000):
        highest = np.maximum(highest, jumper.bet(rng.random(1000)))
    for level in (0.01, 0.05, 0.2):
        assert (highest >= np.log(1 / level)).mean() <= level + 2.5 * np.sqrt(level * (1 - level) / 1000)


def test_the_capital_is_fair() -> None:
    """Its mean stays 1, computed exactly over a grid of p-values."""
    grid = (np.arange(1000) + 0.5) / 1000
    jumper = SimpleJumper((1000,))
    assert np.exp(jumper.bet(grid)).mean() == pytest.approx(1)
    for _ in range(5):
        capital = np.exp(jumper.bet(grid))
    assert capital[0] > 3 and capital[-1] > 3 and capital[500] == pytest.approx(1, abs=0.01)


def test_a_shift_is_found_soon_and_capital_stays_finite() -> None:
    rng = np.random.default_rng(3)
    numbers = np.concatenate([rng.normal(size=300), rng.normal(3, 1, size=2000)])
    jumper = SimpleJumper()
    capital = np.array([float(jumper.bet(p)) for p in p_values(numbers)])
    alarm = int(np.argmax(capital >= np.log(100)))
    assert 300 < alarm < 340 and np.isfinite(capital).all()


def test_numbers_that_cannot_be_ranked_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be ranked"):
        ConformalRanks().p_value(float("nan"))
