"""What the Label tab shows: of which model, which images, in which order. Values of the page, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from altub.errors import LabelError
from altub.inference.calibration import Calibration
from altub.inference.model_cache import ModelCache
from altub.inference.threshold import Threshold
from altub.labels.lists import FILTERS, LIST_ORDERS
from altub.labels.queue import ORDERS
from altub.labels.records import LONGEST_NAME
from altub.labels.store import LabelStore
from altub.runs.run import Run
from altub.ui.offers import find_model

__all__ = ["ALL_SOURCES", "UNLABELLED", "Choice", "Model", "load_model"]

UNLABELLED = "unlabelled"
#: Value of the field of the source for the images of all of them; no source can have this name.
ALL_SOURCES = "*"


@dataclass(frozen=True)
class Model:
    """The chosen model.

    Attributes:
        sha256: of its weights.
        threshold: in use; `own_threshold` is None where that is the calibration's.
    """

    run: Run
    sha256: str
    threshold: Threshold
    own_threshold: Threshold | None
    calibration: Calibration
    score_unit: str


def load_model(models: ModelCache, run_id: str | None) -> Model | None:
    """The model of a run; None where none is chosen.

    Raises:
        AltUBError: it is gone or cannot be loaded.
    """
    if not run_id:
        return None
    run = find_model(run_id)
    loaded = models.get(run.model_dir)
    detector = loaded.detector
    calibration = detector.require_calibration()
    return Model(
        run,
        loaded.weights_sha256,
        detector.threshold,
        detector.own_threshold,
        calibration,
        detector.config.score_unit,
    )


@dataclass(frozen=True)
class Choice:
    """The fields of the queue.

    Attributes:
        run_id: of the model; empty: none.
        show: one of `FILTERS`; "unlabelled" is the queue, the others are lists.
        order: of the queue or of lists; one that is not possible here is replaced by one that is.
        source: None: all.
        defect_type: only defects of this type; None: all.
    """

    run_id: str = ""
    show: str = UNLABELLED
    order: str = "nearest"
    source: str | None = None
    defect_type: str | None = None

    @classmethod
    def of(cls, values: Any) -> Choice:
        """From what a page sent.

        Raises:
            LabelError: it is no choice.
        """
        if not isinstance(values, dict):
            raise LabelError("The page is of an older version: reload it.")
        texts = {name: values.get(name) or "" for name in ("run", "show", "order", "source", "type")}
        if any(not isinstance(text, str) or len(text) > 500 for text in texts.values()):
            raise LabelError("The page is of an older version: reload it.")
        show = texts["show"] if texts["show"] in FILTERS else UNLABELLED
        return cls(
            run_id=texts["run"],
            show=show,
            order=texts["order"],
            source=None if texts["source"] == ALL_SOURCES else texts["source"],
            defect_type=texts["type"][:LONGEST_NAME] or None,
        )

    def to_json(self) -> dict[str, str]:
        """The form that `of` reads."""
        source = ALL_SOURCES if self.source is None else self.source
        return {
            "run": self.run_id,
            "show": self.show,
            "order": self.order,
            "source": source,
            "type": self.defect_type or "",
        }

    @property
    def is_queue(self) -> bool:
        """Does the queue choose the images, with a probability that is kept?"""
        return self.show == UNLABELLED

    def possible_order(self, model: Model | None) -> str:
        """The order, or the nearest to it that needs no scores where no model is chosen."""
        known = ORDERS if self.is_queue else LIST_ORDERS
        needs_model = self.order in ("nearest", "anomalous")
        if self.order in known and (model is not None or not needs_model):
            return self.order
        if self.is_queue:
            return "diverse" if model is None else "nearest"
        return "newest"


def count_labelled(store: LabelStore, source: str | None) -> tuple[int, int]:
    """Number of labelled images of a source, and of all its images."""
    row = store.db.row(
        "SELECT count(*) AS n, count(e.image) AS labelled FROM images AS i "
        "LEFT JOIN (SELECT DISTINCT image FROM standing) AS e ON e.image = i.id "
        "WHERE :source IS NULL OR i.source = :source",
        {"source": source},
    )
    return row["labelled"], row["n"]
