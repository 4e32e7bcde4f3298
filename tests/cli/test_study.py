"""The command `study`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import METRICS, Ended
from tests.conftest import SIDE

pytestmark = pytest.mark.usefixtures("quick_processes")


def test_a_study_from_the_command_line(
    altub: Callable[..., Ended], data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    grid = ("--data", data_folder, "--categories", "weave", "--base-updates", "off,moments:interval=3", "--seeds", "0")
    settings = {"backbone": "filter-bank", "image_size": SIDE, "epochs": 2, "batch_size": 6, "flow.steps": 2}
    small = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    trained = altub("study", "--study-dir", tmp_path, *grid, *small, "--json")
    assert trained.code == 0, trained
    study = json.loads(trained.out)
    assert [run["run"] for run in study["runs"]] == [
        f"weave-fastflow-{update}-seed0" for update in ("off", "moments-interval-3")
    ]
    assert METRICS & set(study["summary"][0]["metrics"])

    reported = altub("study", "--study-dir", tmp_path, "--report")
    assert reported.code == 0 and "Last epoch, mean" in reported.out
    tables = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert {"results.csv", "summary.csv", "results.json", "figure-weave-fastflow-pixel_auroc.png"} <= tables


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--categories"),
        (("--categories", "sponge", "--seeds", "1.5"), "whole numbers"),
        (("--categories", "sponge", "--set", "epochs"), "epochs"),
        (("--report",), "no runs"),
    ],
)
def test_a_study_that_cannot_start(
    altub: Callable[..., Ended], tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    altub("study", "--study-dir", tmp_path, *options).assert_refused(words)
    assert list(tmp_path.iterdir()) == []
