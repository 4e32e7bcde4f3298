"""What labels are there for a model's scores: all of them with weights, and the random ones in their order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from altub.labels.queue import scope_of
from altub.labels.store import LabelStore
from altub.labels.weights import importance_weights

__all__ = ["Evidence", "LabelSample", "read_sample"]

_CODES = {"good": 0, "defect": 1, "unsure": 2, None: -1}
_IMAGES = """SELECT i.id, i.sha256, i.inclusion, i.ticket, p.score, p.peak, e.verdict FROM images AS i
    JOIN proposals AS p ON p.image = i.id AND p.model = :model
    LEFT JOIN standing AS e ON e.id = (SELECT max(s.id) FROM standing AS s WHERE s.image = i.id)
    WHERE :scope = '*' OR i.source = :scope ORDER BY i.id"""


@dataclass(frozen=True)
class Evidence:
    """A random sequence of images of the production, with their labels; what promises rest on.

    Each image is a draw from all images of the scope that did not look at it. Images whose verdict is "unsure" are left
    out: a promise is about images that people call good or defective.

    Attributes:
        images: SHA-256, (n,).
        scores: (n,); `peaks` the maxima of the anomaly maps.
        labels: (n,), 0 good, 1 defective, -1 drawn but not labelled yet.
        weights: (n,), 1 / inclusion: how many images of the production each stands for.
        complete: every image of the scope is labelled, so that when to stop was not decided on the way.
    """

    images: tuple[str, ...]
    scores: np.ndarray
    peaks: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    complete: bool


@dataclass(frozen=True)
class LabelSample:
    """The labelled images of a scope, with the scores of a model.

    Attributes:
        images: SHA-256 of those that are good or defective, (n,).
        scores: (n,).
        is_defective: bool (n,).
        weights: (n,), how many images of the scope (and, with its inclusion, of the production) each stands for.
        evidence: the random ones among them.
        scored: number of images of the scope that have a score and were not excluded.
        unscored: number of those without a score, which are left out.
        excluded: number of those that were excluded.
    """

    images: tuple[str, ...]
    scores: np.ndarray
    is_defective: np.ndarray
    weights: np.ndarray
    evidence: Evidence
    scored: int
    unscored: int
    excluded: int = 0


def read_sample(
    store: LabelStore, model: str, source: str | None = None, *, exclude: Iterable[str] = ()
) -> LabelSample:
    """The labels of a source's images, or of all, with the scores of a model.

    Args:
        model: SHA-256 of the model's weights.
        source: only images from there.
        exclude: SHA-256 of images to leave out: those that the model was trained on (`training_images`).
    """
    scope, left_out = scope_of(source), set(exclude)
    scored = store.db.rows(_IMAGES, {"model": model, "scope": scope})
    rows = [row for row in scored if row["sha256"] not in left_out]
    codes = np.array([_CODES[row["verdict"]] for row in rows], int)
    inclusion = np.array([row["inclusion"] for row in rows], float)
    scores = np.array([row["score"] for row in rows], float)
    places = {row["id"]: place for place, row in enumerate(rows)}
    weights = _weights(store, scope, places, codes >= 0) / inclusion
    known = (codes == 0) | (codes == 1)
    total = store.db.row("SELECT count(*) AS n FROM images WHERE :scope = '*' OR source = :scope", {"scope": scope})
    names = np.array([row["sha256"] for row in rows], object)
    return LabelSample(
        images=tuple(names[known]),
        scores=scores[known],
        is_defective=codes[known] == 1,
        weights=weights[known],
        evidence=_evidence(store, scope, rows, codes, places),
        scored=len(rows),
        unscored=total["n"] - len(scored),
        excluded=len(scored) - len(rows),
    )


def _weights(store: LabelStore, scope: str, places: dict[int, int], is_labelled: np.ndarray) -> np.ndarray:
    """How many images of the scope each stands for; 1 where it was chosen by hand, or where all are labelled."""
    weights = np.ones(is_labelled.size)
    shown = [
        row
        for row in store.db.rows(
            "SELECT image, probability, candidates FROM showings "
            "WHERE scope = ? AND probability IS NOT NULL ORDER BY id",
            (scope,),
        )
        if row["image"] in places
    ]
    if not shown or is_labelled.all():
        return weights
    found = importance_weights(
        np.array([row["probability"] for row in shown]), np.array([row["candidates"] for row in shown])
    )
    chosen = [places[row["image"]] for row in shown]
    is_by_hand = is_labelled.copy()
    is_by_hand[chosen] = False
    weights[chosen] = found * (~is_by_hand).sum() / len(chosen)
    return weights


def _evidence(store: LabelStore, scope: str, rows: list, codes: np.ndarray, places: dict[int, int]) -> Evidence:
    complete = len(rows) > 0 and bool((codes >= 0).all())
    if complete:  # all of them, in an order that looked at nothing
        order = sorted(range(len(rows)), key=lambda place: rows[place]["ticket"])
    else:
        drawn = store.db.rows("SELECT image FROM draws WHERE scope = ? ORDER BY id", (scope,))
        order = [places[row["image"]] for row in drawn if row["image"] in places]
        while order and codes[order[-1]] < 0:  # those on the screen now
            order.pop()
    order = [place for place in order if codes[place] != _CODES["unsure"]]
    return Evidence(
        images=tuple(rows[place]["sha256"] for place in order),
        scores=np.array([rows[place]["score"] for place in order], float),
        peaks=np.array([rows[place]["peak"] for place in order], float),
        labels=codes[order] if order else np.zeros(0, int),
        weights=np.array([1 / rows[place]["inclusion"] for place in order], float),
        complete=complete,
    )
