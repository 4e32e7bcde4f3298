"""Migrations run once each, whole or not at all, and a newer database is left alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import ModuleType

import pytest

from altub.errors import LabelError
from altub.labels.migrations import MIGRATIONS, migrate
from altub.labels.store import LabelStore
from tests.labels.conftest import add_pictures


def step(name: str, *statements: str) -> ModuleType:
    module = ModuleType(f"somewhere.{name}")
    module.STATEMENTS = statements
    return module


def test_each_step_runs_once_with_its_record(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    first = LabelStore(path)
    add_pictures(first, 1)
    second = LabelStore(path)
    records = second.db.rows("SELECT number, name FROM migrations")
    names = [module.__name__.rpartition(".")[2] for module in MIGRATIONS]
    assert [tuple(row) for row in records] == list(enumerate(names, start=1)) and len(second.images.all()) == 1
    assert [module.__name__.rpartition(".")[2][:4] for module in MIGRATIONS] == [
        f"m{number:03d}" for number in range(1, len(MIGRATIONS) + 1)
    ]


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    good, bad = step("m001_a", "CREATE TABLE a (x)"), step("m002_b", "CREATE TABLE b (x)", "CREATE TABLE a (x)")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, (good, bad))
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {"migrations", "a"}
    migrate(connection, (good, step("m002_b", "CREATE TABLE b (x)")))
    assert [row[0] for row in connection.execute("SELECT number FROM migrations")] == [1, 2]


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    store = LabelStore(path)
    with store.db.write() as connection:
        connection.execute("INSERT INTO migrations VALUES (99, 'm099_later', 0)")
    with pytest.raises(LabelError, match=r"version 99, newer than .* update AltUB"):
        LabelStore(path)


def test_what_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    path.write_bytes(b"no database, but long enough to look at " * 100)
    with pytest.raises(LabelError, match="damaged or is no label database"):
        LabelStore(path)
