"""A measurement of detectability for people: a table with its sentences, the chart, and example pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from altub.data import Sample
from altub.evaluation.detectability.examples import (
    EXAMPLES_FILE,
    draw_examples,
    example_picture,
    keep_examples,
    main_contrast,
    write_png,
)
from altub.evaluation.detectability.record import Detectability
from altub.plots import figure_to_image
from altub.plots.detectability import PodLine, detectability_figure

if TYPE_CHECKING:
    from altub.evaluation.detectability.pod import PodCurve
    from altub.inference.detector import AnomalyDetector

__all__ = [
    "CHART_FILE",
    "EXAMPLES_TEXT",
    "FOLDER",
    "SYNTHETIC",
    "chart",
    "report_lines",
    "write_report",
]

#: In a model's folder: where its result is kept.
FOLDER = "detectability"

CHART_FILE = "detectability.png"
EXAMPLES_TEXT = "Good images with a drawn defect of the size that is found in 90 % of cases, and their heatmaps."
SYNTHETIC = (
    "Synthetic defects are not real ones: they say which change of an image this model notices, not which defect your "
    "line makes. Where labelled defects exist, compare."
)


def report_lines(result: Detectability) -> list[str]:
    """The table and what it means."""
    good, alarms = len(result.good_scores), result.false_alarms
    lines = [
        f"Probability of detection, {result.category}: synthetic defects on {good} good images not trained on.",
        f"Threshold: {result.promise} Of these {good} without a defect, {alarms} {_are(alarms)} called defective.",
        "",
    ]
    rows = [("contrast", "defects", "found", "a50", "a90", "a90/95")]
    for contrast in result.contrasts:
        for kind in (None, *result.kinds):
            curve = result.curve(contrast, kind)
            found = f"{int(curve.hits.sum())} of {len(curve.hits)}"
            sizes = (curve.size_at(0.5), curve.size_at(0.9), curve.bound_at(0.9))
            words = (result.size_words(size, curve) for size in sizes)
            rows.append((f"{contrast:g}", kind or "all", found, *words))
    lines += _aligned(rows)
    lines += [
        "",
        "Size: diameter of the disk of the same area. a50, a90: found in 50 % and 90 % of cases; a90/95: with 95 % "
        "confidence",
        "90 % of defects of this size are found. A defect counts as found where the image is called defective and the "
        "marked area touches it.",
    ]
    chance = sum(trial.by_chance for trial in result.trials)
    if chance:
        lines.append(f"{chance} of {len(result.trials)} defects lie where the image was called defective without them.")
    if result.real:
        lines += ["", "Real defects of the test set, and how many the curve of all synthetic ones expects:"]
        heads = ("defect", "found", "median size", *(f"expected at {contrast:g}" for contrast in result.contrasts))
        rows = [heads]
        for row in result.real_rows():
            expected = (f"{value:.1f}" for value in row["expected"].values())
            size = f"{row['median_size']:.3g} {result.unit}"
            rows.append((row["defect"], f"{row['hits']} of {row['images']}", size, *expected))
        lines += _aligned(rows)
    return [*lines, "", SYNTHETIC]


def chart(result: Detectability, contrast: float | None = None, *, dark: bool = False) -> Image.Image:
    """The probability of detection over size, RGBA."""
    contrast = main_contrast(result) if contrast is None else contrast
    curve = result.curve(contrast)
    trials = result.trials_of(contrast)
    sizes = np.array([result.size(trial.area) for trial in trials])
    kinds = {kind: line for kind in result.kinds if (line := _line(result.curve(contrast, kind))) is not None}
    marks = {"a90": curve.size_at(0.9), "a90/95": curve.bound_at(0.9)}
    figure = detectability_figure(
        (sizes, np.array([trial.hit for trial in trials])),
        _line(curve),
        kinds if len(result.kinds) > 1 else {},
        {name: size for name, size in marks.items() if size and math.isfinite(size)},
        ([result.size(defect.area) for defect in result.real], [defect.hit for defect in result.real]),
        unit=result.unit,
        dark=dark,
    )
    return figure_to_image(figure)


def write_report(
    folder: Path, result: Detectability, detector: AnomalyDetector | None = None, good: Sequence[Sample] = ()
) -> list[Path]:
    """The result, its chart and, with a detector and good images, example pictures in this folder, which is made.

    Raises:
        DiskFullError: no room.
    """
    written = [result.write(folder)]
    pictures = {CHART_FILE: _on_white(chart(result))}
    if detector is not None and good:
        examples = draw_examples(detector, good, result)
        pictures[EXAMPLES_FILE] = example_picture(examples, result)
        keep_examples(folder, examples, result)
    for name, picture in pictures.items():
        write_png(folder / name, picture)
        written.append(folder / name)
    return written


def _line(curve: PodCurve) -> PodLine | None:
    if curve.slope is None:
        return None
    sizes = np.geomspace(curve.sizes[0], curve.sizes[-1], 120)
    return PodLine(sizes, curve.pod(sizes), *curve.band(sizes))


def _on_white(picture: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
