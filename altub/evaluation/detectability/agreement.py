"""How far do synthetic and real defects agree? Rank correlation of what several models find of either.

    python -m altub.evaluation.detectability.agreement --runs study/bottle-* --data data/mvtec --category bottle

One row for each model: the shares of its synthetic and of its real defects that it finds at a threshold, and for real
ones the image AUROC. Then Spearman's rank correlation over the models: do synthetic defects put the models in the order
in which real ones do? And over the kinds of real defects, for each model: does the curve of the synthetic ones, at
their size, tell which kinds are found more often?
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from altub.data import load_category
from altub.evaluation.detectability.measure import Plan, measure_detectability
from altub.evaluation.detectability.record import Detectability
from altub.evaluation.detectability.unseen import unseen_good
from altub.evaluation.metrics import image_auroc
from altub.inference.detector import AnomalyDetector
from altub.inference.threshold import DEFAULT_FALSE_ALARM_RATE
from altub.runs.run import Run

__all__ = ["Agreement", "rank_correlation"]


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rho in -1 to 1; NaN where one of the two is the same everywhere, or there are fewer than three."""
    if len(first) < 3 or len(set(first)) < 2 or len(set(second)) < 2:
        return math.nan
    return float(spearmanr(first, second).statistic)


@dataclass(frozen=True)
class Agreement:
    """What one model finds.

    Attributes:
        synthetic, real: shares found.
        auroc: of the real defective images against the good ones; NaN without any.
        over_kinds: `rank_correlation` over kinds of real defects of the share expected by the synthetic curve at their
            size and the share found.
    """

    synthetic: float
    real: float
    auroc: float
    over_kinds: float

    @classmethod
    def of(cls, result: Detectability) -> Agreement:
        """From a measurement with real defects at one contrast."""
        (contrast,) = result.contrasts
        rows = result.real_rows()
        labels = np.array([False] * len(result.good_scores) + [True] * len(result.real))
        auroc = image_auroc(np.array([*result.good_scores, *(defect.score for defect in result.real)]), labels)
        return cls(
            synthetic=float(np.mean([trial.hit for trial in result.trials])),
            real=float(np.mean([defect.hit for defect in result.real])) if result.real else math.nan,
            auroc=math.nan if auroc is None else auroc,
            over_kinds=rank_correlation(
                [row["expected"][f"{contrast:g}"] / row["images"] for row in rows],
                [row["hits"] / row["images"] for row in rows],
            ),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Do synthetic defects rank models, and kinds of defects, as real do?")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders of one category")
    parser.add_argument("--data", default="sample")
    parser.add_argument("--category", required=True)
    parser.add_argument("--contrast", type=float, default=0.25)
    parser.add_argument("--trials", type=int, default=20, help="synthetic defects of each kind")
    parser.add_argument("--false-alarm-rate", type=float, default=DEFAULT_FALSE_ALARM_RATE)
    given = parser.parse_args()
    category = load_category(given.data, given.category)
    plan = Plan(contrasts=(given.contrast,), trials=given.trials)
    print("| model | synthetic found | real found | real AUROC | over kinds |\n|---|---|---|---|---|")
    found = []
    for path in given.runs:
        model = Run(path).model_dir
        detector = AnomalyDetector.load(model)
        threshold = detector.require_calibration().threshold(given.false_alarm_rate)
        result = measure_detectability(
            detector, unseen_good(model, category), threshold=threshold, plan=plan, real=category.defective
        )
        one = Agreement.of(result)
        found.append(one)
        cells = (path.name, f"{one.synthetic:.2f}", f"{one.real:.2f}", f"{one.auroc:.3f}", f"{one.over_kinds:.2f}")
        print(f"| {' | '.join(cells)} |", flush=True)
    synthetic = [one.synthetic for one in found]
    print(f"\nSpearman over {len(found)} models, synthetic found against")
    print(f"  real found: {rank_correlation(synthetic, [one.real for one in found]):.2f}")
    print(f"  real AUROC: {rank_correlation(synthetic, [one.auroc for one in found]):.2f}")


if __name__ == "__main__":
    main()
