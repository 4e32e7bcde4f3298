"""What the labels say of the chosen model: curves, a threshold from them, what it calls what, and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from altub.errors import ConfigError, LabelError
from altub.inference.threshold import Threshold
from altub.labels import (
    cheapest_threshold,
    confusion,
    extension_of,
    label_curves,
    promised_threshold,
    read_sample,
    training_images,
)
from altub.labels.curves import Confusion, Curves
from altub.labels.sample import LabelSample
from altub.labels.store import LabelStore
from altub.labels.training_data import TrainingImages
from altub.ui.html.pictures import broken_tile, thumbnail_uri
from altub.ui.label.charts import curve_chart, score_chart
from altub.ui.label.choice import Model
from altub.ui.watch import stamp

__all__ = ["GOALS", "RATIOS", "Goal", "extension_html", "found_threshold", "insight_html", "sample_of"]

GOALS = (
    ("The model's own", "own"),
    ("Recall at least", "recall"),
    ("False alarms at most", "false-alarm-rate"),
    ("Least cost", "cost"),
)
#: Positions of the cost slider: a missed defect costs as much as so many false alarms.
RATIOS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000)
SHOWN_PICTURES, PICTURE_SIDE = 12, 96


@dataclass(frozen=True)
class Goal:
    """What the threshold should do.

    Attributes:
        kind: one of `GOALS`.
        level: smallest recall or largest false-alarm rate, in 0 to 1; of a cost: the ratio.
        confidence: of the promise.
    """

    kind: str
    level: float
    confidence: float

    @classmethod
    def of(cls, kind: Any, recall: Any, rate: Any, position: Any, confidence: Any) -> Goal:
        """From the fields of the page; rates and the confidence in percent.

        Raises:
            ConfigError: a value is not possible.
        """
        if kind not in [value for _, value in GOALS]:
            raise ConfigError("Choose what the threshold should do.")
        numbers = (recall, rate, position, confidence)
        if any(isinstance(one, bool) or not isinstance(one, (int, float)) for one in numbers):
            raise ConfigError("A level of the threshold is not a number: move the slider and try again.")
        if kind == "cost":
            if position not in range(len(RATIOS)):
                raise ConfigError("The cost slider has no such position: move it and try again.")
            return cls(kind, float(RATIOS[int(position)]), 0.0)
        return cls(kind, (recall if kind == "recall" else rate) / 100, confidence / 100)


def sample_of(store: LabelStore, model: Model, source: str | None) -> tuple[LabelSample, bool]:
    """The labels of a source with the model's scores, and whether it is known which images it was trained on; these
    are left out."""
    seen = _seen(model.run.model_dir, stamp(model.run.path / "data.json"))
    return read_sample(store, model.sha256, source, exclude=seen.trained if seen else ()), seen is not None


def found_threshold(sample: LabelSample, model: Model, goal: Goal) -> Threshold:
    """The threshold that the goal asks for.

    Raises:
        LabelError: there are too few labels for it.
        ConfigError: the level or the confidence is not possible.
    """
    if goal.kind == "own":
        return model.threshold
    pixel_value = model.threshold.pixel_value
    if goal.kind == "cost":
        return cheapest_threshold(sample, goal.level, pixel_value=pixel_value)
    return promised_threshold(
        sample.evidence, goal.kind, goal.level, confidence=goal.confidence, pixel_value=pixel_value
    )


def extension_html(store: LabelStore, model: Model, source: str | None, sample: LabelSample) -> tuple[str, bool]:
    """What it would change that good labels join the model's calibration, or why none can; and whether some can."""
    seen = _seen(model.run.model_dir, stamp(model.run.path / "data.json"))
    known = model.calibration, model.own_threshold, model.sha256
    try:
        found = extension_of(model.run.model_dir, *known, store, sample, source, seen)
    except LabelError as error:
        return f"<p>{escape(str(error))}</p>", False
    before, after = found.smallest_p_values
    values = [threshold.value for threshold in found.thresholds]
    moved = f" Threshold {values[0]:.4g} → {values[1]:.4g}." if values[0] != values[1] else ""
    now = f" ({found.n_before} are in)" if found.n_before else ""
    return (
        f"<p>{found.n_held_out} held-out and {found.n_joined} randomly drawn good images{now}: smallest p-value "
        f"{before:.2g} → {after:.2g}.{moved}</p>",
        True,
    )


def insight_html(
    store: LabelStore,
    model: Model | None,
    source: str | None,
    goal: Goal,
    known: tuple[LabelSample, bool] | None = None,
) -> tuple[str, bool]:
    """All of it as HTML, and whether there is a threshold that can become the model's.

    Args:
        known: what `sample_of` said of them, where it was asked already.
    """
    if model is None:
        return _empty("Choose a model to see what the labels say of it."), False
    sample, knows_training = known or sample_of(store, model, source)
    n_good, n_defect = int((~sample.is_defective).sum()), int(sample.is_defective.sum())
    if not n_good or not n_defect:
        missing = "good" if not n_good else "defective"
        return _empty(f"Label at least one {missing} image to see curves and thresholds."), False
    threshold, problem = None, ""
    try:
        threshold = found_threshold(sample, model, goal)
    except LabelError as error:  # too few labels for a promise: an answer too
        problem = str(error)
    shown = threshold or model.threshold
    curves, found = label_curves(sample), confusion(sample, shown.value)
    lines = [("model's own", model.threshold.value)]
    if goal.kind != "own" and threshold is not None:
        lines = [("new", threshold.value), *lines]
    scores = sample.scores
    at = _point(curves, shown.value)
    charts = (
        score_chart(scores[~sample.is_defective], scores[sample.is_defective], lines)
        + curve_chart(
            "ROC",
            f"area {curves.auroc:.3f}",
            "false-alarm rate",
            "recall",
            curves.false_alarm_rate.value,
            curves.recall,
            (at[0], at[1]),
        )
        + curve_chart(
            "Precision and recall",
            f"average precision {curves.average_precision:.3f}",
            "recall",
            "precision",
            curves.recall.value,
            curves.precision,
            (at[1], at[2]),
        )
    )
    return (
        f'<div class="insight">{_threshold(shown, problem, sample, knows_training)}{_matrix(found)}'
        f'<div class="charts">{charts}</div>'
        f"{_pictures(store, sample, 'Missed defects', 'missed', found.missed)}"
        f"{_pictures(store, sample, 'False alarms', 'false-alarms', found.false_alarms)}</div>",
        threshold is not None and goal.kind != "own",
    )


@lru_cache(maxsize=32)
def _seen(model_dir: Path, _: tuple[int, int]) -> TrainingImages | None:
    return training_images(model_dir)


def _point(curves: Curves, threshold: float) -> tuple[float, float, float]:
    """False-alarm rate, recall and precision of a threshold: the curve's place with the same images above it."""
    place = min(int(np.searchsorted(-curves.thresholds, -threshold)), curves.thresholds.size - 1)
    rates = (curves.false_alarm_rate, curves.recall, curves.precision)
    return float(rates[0].value[place]), float(rates[1].value[place]), float(rates[2].value[place])


def _threshold(threshold: Threshold, problem: str, sample: LabelSample, knows_training: bool) -> str:
    notes = [f"{sample.unscored} images have no score yet." if sample.unscored else ""]
    notes.append(f"{sample.excluded} images that the model was trained on are left out." if sample.excluded else "")
    if not knows_training:
        notes.append("Which images the model was trained on is not known: label others.")
    lines = "".join(f'<p class="quiet">{note}</p>' for note in notes if note)
    if problem:
        return f'<div class="verdict-line problem" role="status"><p>{escape(problem)}</p>{lines}</div>'
    warning = f"<p>{escape(threshold.warning)}</p>" if threshold.warning else ""
    return (
        f'<div class="verdict-line" role="status"><p><b>{threshold.value:.4g}</b> '
        f"{escape(threshold.origin.promise)}</p>{warning}{lines}</div>"
    )


def _matrix(found: Confusion) -> str:
    rates = [
        f"Recall {found.recall:.1%}" if found.recall is not None else "",
        f"False-alarm rate {found.false_alarm_rate:.1%}" if found.false_alarm_rate is not None else "",
    ]
    return (
        '<table class="matrix"><caption>Labels and the model</caption><thead><tr><td></td><th scope="col">Model: defect'
        '</th><th scope="col">Model: good</th></tr></thead><tbody>'
        f'<tr><th scope="row">Defect</th><td class="right">{len(found.found)}</td>'
        f'<td class="wrong">{len(found.missed)}</td></tr>'
        f'<tr><th scope="row">Good</th><td class="wrong">{len(found.false_alarms)}</td>'
        f'<td class="right">{len(found.passed)}</td></tr></tbody></table>'
        f'<p class="quiet rates">{" · ".join(filter(None, rates))}, weighted by how the images were chosen</p>'
    )


def _pictures(store: LabelStore, sample: LabelSample, title: str, kind: str, images: tuple[str, ...]) -> str:
    if not images:
        return ""
    scores = dict(zip(sample.images, sample.scores, strict=True))
    tiles = []
    for image in images[:SHOWN_PICTURES]:
        uri = thumbnail_uri(store.objects.path(image), PICTURE_SIDE)
        name = escape(store.images.get(image).name)
        picture = f'<img src="{uri}" alt="">' if uri else broken_tile()
        tiles.append(
            f'<button type="button" data-image="{image}" title="{name}" aria-label="{name}, score {scores[image]:.3g}">'
            f"{picture}<span>{scores[image]:.3g}</span></button>"
        )
    more = f", the worst {SHOWN_PICTURES}" if len(images) > SHOWN_PICTURES else ""
    return (
        f'<section class="pictures {kind}"><h4>{title} <span class="quiet">{len(images)}{more}</span></h4>'
        f"<div>{''.join(tiles)}</div></section>"
    )


def _empty(text: str) -> str:
    return f'<p class="insight-empty">{escape(text)}</p>'
