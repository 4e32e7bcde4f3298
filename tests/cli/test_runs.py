"""The command `runs`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from altub.runs.run import Run
from altub.runs.trash import trash_run
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


def test_a_run_is_named_archived_and_brought_back(
    altub, trained_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALTUB_RUNS", str(tmp_path))
    shutil.copytree(trained_run.path, tmp_path / "weave-run")
    altub("note", "weave-run", "--name", "Weave 3", "--tag", "line-3", "--tag", "trial", "--in-production")
    assert altub("runs").out.rstrip().endswith("Weave 3, in production, line-3, trial")
    said = json.loads(altub("note", "weave-run", "--archive", "--not-in-production").out)
    assert said == {"name": "Weave 3", "notes": "", "tags": ["line-3", "trial"], "pinned": False, "archived": True}
    assert altub("runs").out == "" and "Weave 3" in altub("runs", "--archived").out
    trash_run("weave-run")
    assert altub("runs", "--archived").out == ""
    assert "is back" in altub("restore", "weave-run").err and "weave-run" in altub("runs", "--archived").out
    assert altub("restore", "weave-run").code == 2
