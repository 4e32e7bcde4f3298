"""Lists of images: filters, orders and pages."""

from __future__ import annotations

import pytest

from altub.errors import LabelError
from altub.labels.lists import FILTERS, browse
from altub.labels.store import LabelStore
from tests.labels.conftest import add_pictures, propose

MODEL = "m" * 64


@pytest.fixture
def labelled(store: LabelStore) -> LabelStore:
    images = add_pictures(store, 6, source="line")
    propose(store, images[:5], [0.1, 0.9, 0.5, 0.7, 0.2])
    for number, verdict in enumerate(("good", "good", "defect", "unsure")):
        store.labels.add(images[number], "ann", verdict, defect_type="dent" if verdict == "defect" else None)
    store.labels.add(images[0], "bob", "defect")
    store.labels.add(images[1], "bob", "good")
    return store


@pytest.mark.parametrize(
    ("show", "names"),
    [
        ("all", "054321"),
        ("unlabelled", "54"),
        ("good", "1"),
        ("defect", "02"),
        ("unsure", "3"),
        ("disagreement", "012"),  # good above 0.6, defects below it
        ("disputed", "0"),
    ],
)
def test_filters(labelled: LabelStore, show: str, names: str) -> None:
    page = browse(labelled, show=show, model=MODEL, threshold=0.6)
    assert {row.name for row in page.rows} == {f"{int(name):04d}.png" for name in names}
    assert page.total == len(names)


def test_orders_types_and_pages(labelled: LabelStore) -> None:
    def names(**choice) -> str:
        return "".join(row.name[3] for row in browse(labelled, model=MODEL, threshold=0.45, **choice).rows)

    assert names(order="newest") == "543210" and names(order="oldest") == "012345"
    assert names(order="anomalous") == "132405" and names(order="nearest") == "234015"
    assert names(order="labelled")[:4] == "1032"
    assert names(order="oldest", offset=2, limit=2) == "23" and names(defect_type="dent") == "2"
    assert names(source="elsewhere") == ""
    row = browse(labelled, model=MODEL, order="oldest").rows[0]
    assert (row.verdict, row.who, row.defect_type, row.score, row.has_mask) == ("defect", "bob", "defect", 0.1, False)


def test_what_cannot_be_listed_is_refused(labelled: LabelStore) -> None:
    assert len(FILTERS) == 7
    for wrong in ({"show": "odd"}, {"order": "odd"}, {"show": "disagreement"}, {"order": "nearest", "model": MODEL}):
        with pytest.raises(LabelError):
            browse(labelled, **wrong)
