"""Has a stream of numbers changed? An alarm that is valid although it is looked at after every number.

Each number is ranked among all before it. As long as any order of them is equally probable (nothing changed), the
randomised ranks, called online conformal p-values, are independent and uniform on [0, 1], whatever the distribution of
the numbers. A player who starts with capital 1 bets against that, and fairly: after nothing but uniform p-values his
capital ever reaches 1 / level with a probability of at most `level` (Ville's inequality). So an alarm at 1 / level is
false with that probability over the whole life of the stream, not at each look.

The player is the Simple Jumper: capital in three accounts that bet on small p-values, on large ones and on neither,
and 1 % of it is spread over the three again before every number.

References: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2nd edition, chapter 8; Vovk, Petej,
Nouretdinov, Ahlberg, Carlsson, Gammerman, "Retrain or not retrain: conformal test martingales for change-point
detection", 2021, arXiv:2102.10439.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort

import numpy as np

__all__ = ["ConformalRanks", "SimpleJumper"]

JUMP = 0.01  # share of the capital that is spread anew before every bet
BETS = np.array([-1.0, 0.0, 1.0])  # slopes of the bets; -1 wins on small p-values


class ConformalRanks:
    """Randomised p-values of numbers among all before them.

    Args:
        seed: of the random numbers that break ties; the same seed and numbers give the same p-values.

    Example:
        >>> ranks = ConformalRanks(seed=0)
        >>> found = [ranks.p_value(value) for value in (1.0, 2.0, 3.0)]
        >>> found[2] <= 1 / 3
        True
    """

    def __init__(self, seed: int = 0) -> None:
        self._sorted: list[float] = []
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def values(self) -> list[float]:
        """All numbers so far, ascending."""
        return list(self._sorted)

    def p_value(self, value: float) -> float:
        """(numbers above + u (numbers equal, itself among them)) / n, u uniform; the value joins the others.

        Raises:
            ValueError: it is not finite.
        """
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be ranked")
        low, high = bisect_left(self._sorted, value), bisect_right(self._sorted, value)
        insort(self._sorted, value)
        count = len(self._sorted)
        return (count - 1 - high + self._random.random() * (high - low + 1)) / count


class SimpleJumper:
    """The capital of the player, for one stream or for many side by side.

    Args:
        streams: shape of the p-values; () for a single stream.
    """

    def __init__(self, streams: tuple[int, ...] = ()) -> None:
        self._log = np.full((*streams, len(BETS)), -math.log(len(BETS)))

    def bet(self, p_values: float | np.ndarray) -> np.ndarray:
        """The logarithm of the capital after one more p-value of every stream, of the shape of the streams."""
        top = self._log.max(-1, keepdims=True)  # the capital itself outgrows what a float holds
        capital = np.exp(self._log - top)
        capital = (1 - JUMP) * capital + JUMP * capital.mean(-1, keepdims=True)
        capital *= 1 + BETS * (np.asarray(p_values, float)[..., None] - 0.5)
        self._log = np.log(capital) + top
        return self.log_capital

    @property
    def log_capital(self) -> np.ndarray:
        top = self._log.max(-1, keepdims=True)
        return (np.log(np.exp(self._log - top).sum(-1, keepdims=True)) + top)[..., 0]
