"""Does cross-conformal calibration keep its rate where images are few? Measured by small trainings on many good images.

    python -m altub.evaluation.cross_coverage --data data/mvtec --category bottle --images 20 --draws 5

Each draw trains on so many random good images, once calibrated on the held-out ones alone and once across folds, and
counts the false alarms among all other good images. Prints a Markdown table: the rate asked for, what n allows, and the
share of false alarms, mean and range over the draws.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from altub.data import Category, load_category
from altub.inference.threshold import DEFAULT_FALSE_ALARM_RATE
from altub.runs.fit import fit_detector

__all__ = ["false_alarms"]

RATES = (DEFAULT_FALSE_ALARM_RATE, 0.1, 0.2)
RATE_TITLES = [f"{rate:.0%}" for rate in RATES]


def false_alarms(
    category: Category, images: int, draw: int, folds: int, rates: Sequence[float] = RATES, **settings
) -> tuple[int, list[float], list[float]]:
    """Of one small training: n of its calibration, the rates that this n allows, and the shares of false alarms.

    Args:
        category: its good images, of training and test, are divided.
        images: number of good images to train on.
        draw: seed of the division.
        folds: of the cross-calibration; 0 is without.
        rates: asked for.
        settings: of the training.
    """
    good = [*category.train, *(sample for sample in category.test if not sample.is_defective)]
    order = np.random.default_rng(draw).permutation(len(good))
    chosen, others = ([good[k] for k in part] for part in (order[:images], order[images:]))
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        detector = fit_detector(chosen, name=category.name, run_dir=run_dir, cross_folds=folds, seed=draw, **settings)
        scores = np.array([prediction.score for prediction in detector.predict_many([s.source for s in others])])
    calibration = detector.require_calibration()
    thresholds = [calibration.threshold(rate) for rate in rates]
    shares = [float((scores > threshold.value).mean()) for threshold in thresholds]
    return calibration.scores.size, [threshold.origin.promised_rate for threshold in thresholds], shares


def main() -> None:
    parser = argparse.ArgumentParser(description="False alarms of small trainings, calibrated in two ways.")
    parser.add_argument("--data", default="sample")
    parser.add_argument("--category", required=True)
    parser.add_argument("--images", type=int, default=20, help="good images to train on")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--backbone", default="auto")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()
    category = load_category(given.data, given.category)
    settings = {"backbone": given.backbone, "image_size": given.image_size, "epochs": given.epochs}
    print("| calibration | n | " + " | ".join(f"asked {t} | allowed | found" for t in RATE_TITLES) + " |")
    print("|---|---|" + "---|---|---|" * len(RATES))
    for title, folds in (("held out", 0), (f"{given.folds} folds", given.folds)):
        found = [false_alarms(category, given.images, draw, folds, **settings) for draw in range(given.draws)]
        shares = np.array([part for *_, part in found])
        cells = []
        for asked, allowed, share in zip(RATE_TITLES, found[0][1], shares.T, strict=True):
            cells.append(f"{asked} | {allowed:.1%} | {share.mean():.1%} ({share.min():.0%} to {share.max():.0%})")
        print(f"| {title} | {found[0][0]} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
