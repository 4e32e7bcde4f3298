"""How often the drift alarm is false, and how soon it finds a shift: the numbers of docs/results-adaptation.md.

    python -m altub.line.simulation

Streams of random numbers, ranked and bet on as an inspected line's are.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import typer

from altub.line.drift import DEFAULT_LEVEL, STREAMS
from altub.line.martingale import ConformalRanks, SimpleJumper

__all__ = ["alarm_times", "main"]


def alarm_times(numbers: np.ndarray, level: float, seed: int) -> np.ndarray:
    """Per row of (runs, images) after how many images the alarm at this level comes; 0: never."""
    runs, images = numbers.shape
    p_values = np.empty((images, runs))
    for run, row in enumerate(numbers.tolist()):
        ranks = ConformalRanks(seed + run)
        p_values[:, run] = [ranks.p_value(number) for number in row]
    jumper, found, limit = SimpleJumper((runs,)), np.zeros(runs, int), math.log(1 / level)
    for index, values in enumerate(p_values, start=1):
        found[(jumper.bet(values) >= limit) & (found == 0)] = index
    return found


def main(
    runs: Annotated[int, typer.Option(help="Of an unchanged line.")] = 1000,
    images: Annotated[int, typer.Option(help="Of each.")] = 10_000,
    level: Annotated[float, typer.Option(help="Of the alarm.")] = DEFAULT_LEVEL,
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 0,
) -> None:
    """False alarms of unchanged lines, and delays after shifts."""
    rng, ties = np.random.default_rng(seed), 1_000_000 * (seed + 1)  # every run breaks its ties by numbers of its own
    false = 0
    for start in range(0, runs, 100):
        numbers = rng.normal(size=(min(100, runs - start), images))
        false += int((alarm_times(numbers, level, ties + start) > 0).sum())
    print(f"{false} false alarms in {runs:,} runs of {images:,} images at level {level:g} ({100 * false / runs:.2f} %)")
    for before in (100, 300, 1000):
        for size in (0.5, 1.0, 2.0, 3.0):
            numbers = rng.normal(size=(200, before + 1000))
            numbers[:, before:] += size
            found = alarm_times(numbers, level / len(STREAMS), ties + runs)
            early, delays = (found > 0) & (found <= before), found[found > before] - before
            shown = (
                f"median {np.median(delays):.0f}, 90 % within {np.quantile(delays, 0.9):.0f}" if len(delays) else "-"
            )
            print(
                f"shift of {size:g} standard deviations after {before} images: found in {len(delays)} of 200 "
                f"({int(early.sum())} before it), images until the alarm: {shown}"
            )


if __name__ == "__main__":
    typer.run(main)
