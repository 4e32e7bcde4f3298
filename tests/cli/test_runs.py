"""The command `runs`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from altub.runs.run import Run
from tests.cli.conftest import METRICS


def test_runs_are_listed(altub, trained_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALTUB_RUNS", str(trained_run.path.parent))
    shown = altub("runs").out
    assert re.match(r"weave-run +finished +epoch 4/4 +pixel AUROC 0\.\d{4}\n", shown)
    (row,) = map(json.loads, altub("runs", "--json").out.splitlines())
    assert (row["run"], row["state"], row["epoch"]) == ("weave-run", "finished", 4) and set(row["last"]) >= METRICS
    monkeypatch.setenv("ALTUB_RUNS", str(tmp_path / "none"))
    ended = altub("runs")
    assert (ended.code, ended.out) == (0, "") and str(tmp_path / "none") in ended.err, "says where it looked"
