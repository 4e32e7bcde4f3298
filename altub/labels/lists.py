"""Lists of images for people to look through: filtered, ordered, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from altub.errors import LabelError
from altub.labels.records import Verdict
from altub.labels.store import LabelStore

__all__ = ["FILTERS", "LIST_ORDERS", "Filter", "ListOrder", "ListPage", "ListRow", "browse"]

Filter = Literal["all", "unlabelled", "good", "defect", "unsure", "disagreement", "disputed"]
FILTERS: tuple[Filter, ...] = get_args(Filter)
ListOrder = Literal["newest", "oldest", "anomalous", "nearest", "labelled"]
LIST_ORDERS: tuple[ListOrder, ...] = get_args(ListOrder)

_CONDITIONS: dict[Filter, str] = {
    "all": "1",
    "unlabelled": "e.id IS NULL",
    "good": "e.verdict = 'good'",
    "defect": "e.verdict = 'defect'",
    "unsure": "e.verdict = 'unsure'",
    # Between the model and the label, at the threshold.
    "disagreement": "(e.verdict = 'good' AND p.score > :threshold) OR (e.verdict = 'defect' AND p.score <= :threshold)",
    # Between people: their newest verdicts differ.
    "disputed": """1 < (SELECT count(DISTINCT a.verdict) FROM standing AS a WHERE a.image = i.id AND a.id =
        (SELECT max(b.id) FROM standing AS b WHERE b.image = a.image AND b.who = a.who))""",
}
_ORDERS: dict[ListOrder, str] = {
    "newest": "i.id DESC",
    "oldest": "i.id",
    "anomalous": "p.score DESC NULLS LAST, i.id",
    "nearest": "abs(p.score - :threshold) NULLS LAST, i.id",
    "labelled": "e.id DESC NULLS LAST, i.id DESC",
}
_FROM = """FROM images AS i
    LEFT JOIN proposals AS p ON p.image = i.id AND p.model = :model
    LEFT JOIN standing AS e ON e.id = (SELECT max(s.id) FROM standing AS s WHERE s.image = i.id)"""


@dataclass(frozen=True)
class ListRow:
    """An image of a list: what the chosen model and the newest label say of it; p_value as in `Proposal`."""

    image: str
    name: str
    source: str
    score: float | None
    p_value: float | None
    verdict: Verdict | None
    defect_type: str | None
    who: str | None
    has_mask: bool


@dataclass(frozen=True)
class ListPage:
    """Some rows of a list.

    Attributes:
        total: number of images that the filter lets through.
    """

    rows: tuple[ListRow, ...]
    total: int


def browse(
    store: LabelStore,
    *,
    show: Filter = "all",
    defect_type: str | None = None,
    source: str | None = None,
    model: str | None = None,
    threshold: float | None = None,
    order: ListOrder = "newest",
    offset: int = 0,
    limit: int = 50,
) -> ListPage:
    """The images that a filter lets through, in an order.

    What is labelled from such a list was chosen by hand: it has no probability, and promises do not rest on it.

    Args:
        show: "disagreement" is between the model and the label, "disputed" between people.
        defect_type: only defects of this type.
        source: only images from there.
        model: SHA-256 of the model that the scores are from.
        threshold: of the score; "disagreement" and "nearest" need it.

    Raises:
        LabelError: there is no such filter or order, or it needs a model and a threshold.
    """
    if show not in FILTERS or order not in LIST_ORDERS:
        raise LabelError(f"Filters are {', '.join(FILTERS)}; orders are {', '.join(LIST_ORDERS)}.")
    if (show == "disagreement" or order == "nearest") and (model is None or threshold is None):
        raise LabelError("Disagreement and the nearest images need a model and a threshold: choose both.")
    where = f"WHERE ({_CONDITIONS[show]}) AND (:source IS NULL OR i.source = :source)"
    where += " AND (:defect_type IS NULL OR e.defect_type = :defect_type)"
    values = {
        "model": model,
        "threshold": threshold,
        "source": source,
        "defect_type": defect_type,
        "limit": max(limit, 0),
        "offset": max(offset, 0),
    }
    total = store.db.row(f"SELECT count(*) AS n {_FROM} {where}", values)["n"]
    rows = store.db.rows(
        "SELECT i.sha256 AS image, i.name, i.source, p.score, p.p_value, e.verdict, e.defect_type, e.who, "
        f"e.mask IS NOT NULL AS has_mask {_FROM} {where} ORDER BY {_ORDERS[order]} LIMIT :limit OFFSET :offset",
        values,
    )
    return ListPage(tuple(ListRow(**{**dict(row), "has_mask": bool(row["has_mask"])}) for row in rows), total)
