"""The inspection log: nothing twice, nothing changed, and forgotten in time."""

from __future__ import annotations

import csv
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from altub.labels import LabelStore
from altub.labels.inspections import Inspection, InspectionLog

ONE = Inspection("line", 1, "a.png", "f" * 64, "m" * 64, 2, "defect", 3.5, 0.05, 2.0, "", 1_700_000_000.0)


@pytest.fixture
def log(tmp_path: Path) -> InspectionLog:
    return InspectionLog(tmp_path / "labels.db")


def test_the_same_inspection_is_logged_once_and_never_changed(log: InspectionLog) -> None:
    log.add([ONE, replace(ONE, number=2, verdict="good", at=ONE.at + 5)])
    log.add([ONE, replace(ONE, verdict="good")])
    assert [one.verdict for one in log.of_image("f" * 64)] == ["defect", "good"]
    assert log.of_image("e" * 64) == [] and list(log.all()) == log.of_image("f" * 64)
    with pytest.raises(sqlite3.IntegrityError, match="never changed"), log.db.write() as connection:
        connection.execute("UPDATE inspections SET verdict = 'good'")


def test_days_export_and_retention(log: InspectionLog, tmp_path: Path) -> None:
    day = 86_400
    found = [replace(ONE, number=number, at=ONE.at + day * (number // 2)) for number in range(6)]
    found[1] = replace(found[1], verdict="unreadable", name="=1+1.png", score=None, sha256=None)
    log.add(found)
    assert [sum(verdicts.values()) for verdicts in log.days().values()] == [2, 2, 2]
    assert next(iter(log.days().values())) == {"defect": 1, "unreadable": 1}
    path = tmp_path / "log.csv"
    assert log.write_csv(path) == 6 and log.write_csv(tmp_path / "b.csv", since=ONE.at + day) == 4
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["name"] == "'=1+1.png" and rows[1]["score"] == "" and rows[0]["score"] == "3.5"
    assert rows[0]["time"].startswith("2023-11-")
    assert log.forget(ONE.at + day) == 2 and len(log) == 4


def test_it_lies_in_the_label_database_and_an_older_one_gets_it(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels.db")
    InspectionLog(store.db).add([ONE])
    assert len(InspectionLog(tmp_path / "labels.db")) == 1


def test_the_inspections_of_a_model_are_numbered_and_begin_anew(log: InspectionLog) -> None:
    counted = replace(ONE, source="page", number=None, statistics={"brightness": 90.5})
    log.add([ONE, counted, counted, replace(counted, model="n" * 64)])
    found = log.of_model(ONE.model)
    assert [(row, one.source, one.number) for row, one in found] == [(1, "line", 1), (2, "page", 1), (3, "page", 2)]
    assert found[0][1] == ONE and found[1][1].statistics == {"brightness": 90.5}
    assert [row for row, _ in log.of_model(ONE.model, after=1, source="page")] == [2, 3]
    assert log.of_model(ONE.model, source="other") == [] and log.sources(ONE.model) == {"page": 2, "line": 1}
    assert (log.last_rows(ONE.model, 2), log.last_rows(ONE.model, 5)) == (1, 0)
    assert log.began(ONE.model) == (0, None)
    log.begin_anew(ONE.model)
    row, at = log.began(ONE.model)
    assert row == 4 and at > 1e9
