"""Files whose names are no text, and files that are no files."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest

from altub.runs.run import Run
from tests.cli.conftest import TINY
from tests.data.images.encoding import png_of

pytestmark = pytest.mark.skipif(os.name != "posix" or os.uname().sysname == "Darwin", reason="names of any bytes")


def latin(path: Path) -> Path:
    """The path with an é of Latin-1 before its name, which is not UTF-8."""
    return path.with_name(os.fsdecode(b"\xe9") + path.name)


@pytest.fixture
def category(data_folder: Path, tmp_path: Path) -> Path:
    folder = latin(tmp_path / "data" / "weave")
    shutil.copytree(data_folder / "weave", folder)
    for path in sorted(folder.glob("*/*/*.png")):
        path.rename(latin(path))
    return folder


def test_predict_writes_all_and_shows_the_names_replaced(altub, trained_run: Run, category: Path, tmp_path: Path):
    folder = category / "test/good"
    shutil.copy(next(iter(folder.iterdir())), folder / "plain.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "wide.png").write_bytes(png_of(90_000_000, 1))
    ended = altub("predict", folder, "--model", trained_run.model_dir, "--output", tmp_path / "out")
    assert ended.code == 0 and "Traceback" not in ended.err
    assert "pipe, socket or device" in ended.err and "90000000 x 1" in ended.err
    with (tmp_path / "out/predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = {Path(row["image"]).name: row for row in csv.DictReader(file)}
    assert {"plain.png", "\ufffd000.png", "\ufffd001.png"} <= set(rows) and len(rows) == 7
    assert sum(bool(row["error"]) for row in rows.values()) == 2
    assert (tmp_path / "out" / rows["\ufffd000.png"]["mask"]).is_file()


def test_a_category_of_such_a_name_is_listed_trained_and_evaluated(altub, category: Path, tmp_path: Path):
    data = ("--data", category.parent)
    assert altub("categories", *data).out == "\ufffdweave\n"
    for name in (category.name, "\ufffdweave"):
        run = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        ended = altub("train", *data, "--category", name, "--run-dir", run, *TINY, "--epochs", "1")
        assert ended.code == 0, ended.err
        assert altub("train", "--run-dir", run, "--resume", "--epochs", "2").code == 0
    assert altub("evaluate", *data, "--category", name, "--model", run / "model").code == 0


def test_a_refusal_can_be_printed(altub, category: Path):
    altub("categories", "--data", category / "nothing").assert_refused("weave/nothing does not exist")
