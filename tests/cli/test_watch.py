"""The commands `watch` and `inspections`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from altub.runs.run import Run
from tests.line.parts import parts, write_parts


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = write_parts(tmp_path / "in", [*parts(2, 1), *parts(1, 2, blot=True)])
    for picture in folder.iterdir():
        os.utime(picture, (1e9, 1e9))  # nobody writes to them any more
    return folder


def test_a_folder_is_inspected_and_logged(
    altub, line_run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALTUB_DB", str(tmp_path / "labels.db"))
    start = ("watch", pictures, "--model", line_run.model_dir, "--output", tmp_path / "out", "--once")
    ended = altub(*start, "--no-overlays", "--json")
    assert ended.code == 0, ended
    verdicts = json.loads(ended.out)["verdicts"]
    assert sum(verdicts.values()) == 3 and verdicts.keys() & {"defect", "not comparable"}
    assert "3 files inspected" in altub(*start).out
    (counts,) = json.loads(altub("inspections", "--json").out).values()
    assert counts == verdicts
    history = altub("inspections", "--image", pictures / "2.png")
    assert history.out.count("\n") == 1 and re.search("(defect|not comparable) .*2.png", history.out)
    ended = altub("inspections", "--export", tmp_path / "log.csv")
    assert "3 inspections" in ended.out and (tmp_path / "log.csv").read_text().count("\n") == 4
    assert "3 inspections deleted" in altub("inspections", "--forget-after", 0).err
    assert altub("inspections").out == ""


def test_what_cannot_be_done_is_one_sentence(
    altub, line_run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALTUB_DB", str(tmp_path / "labels.db"))
    monkeypatch.delenv("ALTUB_WEBHOOK_SECRET", raising=False)
    start = ("watch", pictures, "--model", line_run.model_dir, "--output", tmp_path / "out")
    altub(*start, "--files", "burn").assert_refused("--files is 'burn': choose leave, move, copy")
    altub(*start, "--webhook", "https://host/x").assert_refused("set ALTUB_WEBHOOK_SECRET")
    altub("watch", tmp_path / "no", *start[2:]).assert_refused("is no folder")
    altub("inspections", "--image", tmp_path / "no.png").assert_refused("is no file")
