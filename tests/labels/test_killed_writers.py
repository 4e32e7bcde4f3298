"""Two writers on one store, killed again and again: what they were told is stored is there, nothing is half there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from altub.labels.backup import check
from altub.labels.store import LabelStore
from tests.labels.conftest import add_pictures

pytestmark = pytest.mark.usefixtures("quick_processes")

REPOSITORY = Path(__file__).resolve().parents[2]
ROUNDS = 10  # of two writers: twenty kills


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_no_label_is_lost_or_half_there(store: LabelStore, tmp_path: Path) -> None:
    add_pictures(store, 5)
    told_folder = tmp_path / "told"
    told_folder.mkdir()
    command = [sys.executable, "-m", "tests.labels.writer", str(store.path), str(told_folder), str(ROUNDS)]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=300)

    outputs = list(told_folder.iterdir())
    told = [line.split(maxsplit=1) for path in outputs for line in path.read_text().split("\n")[:-1]]
    assert len(outputs) == 2 * ROUNDS and all(path.stat().st_size for path in outputs)
    notes = {row["id"]: row["note"] for row in store.db.rows("SELECT id, note FROM events WHERE verdict NOT NULL")}
    undone = {row["undoes"] for row in store.db.rows("SELECT undoes FROM events WHERE undoes NOT NULL")}
    for event, words in told:
        assert int(event) in undone if words == "undone" else notes[int(event)] == words
    # Beside them at most the one that each writer was about to tell when it was killed.
    assert len(notes) <= sum(words != "undone" for _, words in told) + 2 * ROUNDS
    assert check(store).problems == ()
