"""A watched folder: every file exactly once, complete files only, and nothing lost by a kill."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from altub import Run
from altub.errors import ConfigError, DataError, RunError
from altub.labels.inspections import InspectionLog
from altub.line.arrivals import Arrivals
from altub.line.journal import Journal
from altub.line.watch import FolderWatch
from tests.conftest import REPOSITORY
from tests.line.parts import STRONG, parts, write_parts

pytestmark = pytest.mark.usefixtures("quick_processes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good parts and a defective one, which nobody writes to any more."""
    return write_parts(tmp_path / "in", [*parts(2, 1), *parts(1, 2, blot=True)])


def lines(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]


def rows(output: Path) -> list[dict]:
    with (output / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def inspect(folder: Path, run: Run, output: Path, **settings) -> dict[str, int]:
    with FolderWatch(folder, run.model_dir, output, settle=0, device="cpu", **settings) as watch:
        return watch.run(once=True).verdicts


def test_each_file_gets_one_result_and_goes_to_its_verdict(folder: Path, line_run: Run, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no image")
    (folder / "link.png").symlink_to("/etc/passwd")
    (folder / "later").mkdir()
    parts(1, 3, blot=True)[0].save(folder / "later" / "2.png")
    output, log = folder / "out", InspectionLog(tmp_path / "labels.db")
    counts = inspect(folder, line_run, output, filing="move", log=log)
    assert counts["unreadable"] == 1 and sum(counts.values()) == 5
    told = lines(output)
    assert [line["id"] for line in told] == [1, 2, 3, 4, 5] == [int(row["id"]) for row in rows(output)]
    by_name = {line["image"]: line for line in told}
    assert by_name["2.png"]["score"] > by_name["2.png"]["threshold"] > 0 and by_name["2.png"]["p_value"] <= 0.05
    assert "not an image" in by_name["broken.png"]["error"] or by_name["broken.png"]["error"]
    assert (output / by_name["2.png"]["overlay"]).is_file()
    rejected = by_name["2.png"]["verdict"]  # the blot is large for so small a picture
    assert rejected in ("defect", "not comparable") and by_name["later/2.png"]["verdict"] == rejected
    moved = {path.name for path in (output / rejected.replace(" ", "-")).iterdir()}
    assert len(moved) == 2 and "2.png" in moved, "two files of the same name are both kept"
    assert (output / "unreadable" / "broken.png").is_file()
    assert {path.name for path in folder.iterdir()} == {"notes.txt", "link.png", "later", "out"}
    assert len(log) == 5 and log.of_image(by_name["2.png"]["sha256"])[0].verdict == rejected
    assert inspect(folder, line_run, output, filing="move", log=log) == counts and len(lines(output)) == 5


def test_a_file_that_stays_is_inspected_again_only_when_it_changes(folder: Path, line_run: Run, tmp_path: Path) -> None:
    output = tmp_path / "out"
    inspect(folder, line_run, output, filing="copy", overlays=False)
    assert (folder / "0.png").is_file() and not (output / "overlays").exists()
    assert sum(1 for path in output.rglob("*.png")) == 3
    parts(1, 9, blot=True)[0].save(folder / "0.png")
    assert sum(inspect(folder, line_run, output, filing="copy", overlays=False).values()) == 4
    assert [line["image"] for line in lines(output)][3] == "0.png"


def test_only_complete_files_are_taken(folder: Path, tmp_path: Path) -> None:
    arrivals = Arrivals(folder, tmp_path / "out", lambda arrival: False, settle=0.05)
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes())  # written to just now
    (folder / "empty.png").touch()
    now = time.time() - 60
    for name in ("1.png", "2.png"):
        os.utime(folder / name, (now, now))
    first, more = arrivals.ready(10)
    assert [arrival.name for arrival in first] == ["1.png", "2.png"] and more
    with (folder / "0.png").open("ab") as file:
        file.write(b"more")
    assert "0.png" not in [arrival.name for arrival in arrivals.ready(10)[0]], "it has just grown"
    time.sleep(0.06)
    assert "0.png" in [arrival.name for arrival in arrivals.ready(10)[0]]


def test_what_cannot_be_watched_is_refused(folder: Path, line_run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        FolderWatch(tmp_path / "nothing", line_run.model_dir, tmp_path / "out")
    with pytest.raises(DataError, match="cannot be the watched folder"):
        FolderWatch(folder, line_run.model_dir, folder)
    with (
        FolderWatch(folder, line_run.model_dir, tmp_path / "out"),
        pytest.raises(RunError, match="Another program watches"),
    ):
        FolderWatch(folder, line_run.model_dir, tmp_path / "out")
    with pytest.raises(ConfigError, match="ALTUB_WEBHOOK_SECRET"):
        FolderWatch(folder, line_run.model_dir, tmp_path / "out2", webhook=("http://127.0.0.1:1/", ""))
    (tmp_path / "out3").mkdir()
    (tmp_path / "out3" / "journal.db").write_bytes(b"no database" * 1000)
    with pytest.raises(RunError, match="cannot be used as a journal"):
        FolderWatch(folder, line_run.model_dir, tmp_path / "out3")


def test_a_changed_line_gives_an_alarm_that_names_it(line_run: Run, tmp_path: Path) -> None:
    place, output, told = tmp_path / "in", tmp_path / "out", []
    place.mkdir()
    for index, image in enumerate([*parts(40, 1), *parts(40, 2, shift=STRONG)]):
        image.save(place / f"{index:03d}.png")
        os.utime(place / f"{index:03d}.png", (1e9 + index, 1e9 + index))  # in the order of arrival
    inspect(place, line_run, output, overlays=False, tell=told.append)
    alarm = json.loads((output / "drift.json").read_text())
    assert alarm["stream"] in ("background", "brightness") and 40 < alarm["image"] <= 80
    assert len(told) == 1 and "The line has changed" in told[0]
    inspect(place, line_run, output, overlays=False, tell=told.append)
    assert len(told) == 1


def test_killed_twenty_times_each_of_200_files_has_one_result(line_run: Run, tmp_path: Path) -> None:
    """The watcher is forked from one process that has torch loaded, and killed after a few files at a time."""
    place, output = tmp_path / "in", tmp_path / "out"
    place.mkdir()
    for index, image in enumerate(parts(200, 5)):
        image.save(place / f"{index:03d}.png", compress_level=1)
    kills = _run_and_kill(place, line_run, output, tmp_path / "labels.db", 20)
    assert kills == 20
    told = lines(output)
    assert sorted(line["image"] for line in told) == [f"{index:03d}.png" for index in range(200)]
    assert [line["id"] for line in told] == list(range(1, 201)) == [int(row["id"]) for row in rows(output)]
    journal = Journal(output / "journal.db")
    assert sum(journal.counts().values()) == 200 and not journal.to_file() and not journal.to_log()
    moved = Counter(path.name for path in output.rglob("*.png"))
    assert len(moved) == 200 and set(moved.values()) == {1} and not list(place.iterdir())
    logged = Counter(one.number for one in InspectionLog(tmp_path / "labels.db").all())
    assert len(logged) == 200 and set(logged.values()) == {1}


def _run_and_kill(place: Path, run: Run, output: Path, database: Path, kills: int) -> int:
    """A parent loads everything once and forks a watcher for each life; it kills them after growing delays."""
    program = f"""
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)
from altub.line.watch import FolderWatch
from altub.labels.inspections import InspectionLog

def made():
    return FolderWatch({str(place)!r}, {str(run.model_dir)!r}, {str(output)!r}, settle=0, device="cpu", filing="move",
                       overlays=False, log=InspectionLog({str(database)!r}))

with made():
    pass  # what it imports and loads need not be loaded again in every life

def watch():
    with made() as watcher:
        watcher.run(once=True, progress=lambda done: os.write(pipe[1], b"."))

draw, killed, lives = random.Random(0), 0, 0
while True:
    pipe = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(pipe[0])
        watch()
        os._exit(0)
    os.close(pipe[1])
    lives += 1
    if killed < {kills}:
        os.read(pipe[0], 1)  # it has written a first result
        time.sleep(draw.uniform(0, 0.03))
        if os.waitpid(child, os.WNOHANG)[0]:
            sys.exit("a watcher ended before it was killed")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        killed += 1
    else:
        _, status = os.waitpid(child, 0)
        os.close(pipe[0])
        assert status == 0, status
        break
    os.close(pipe[0])
print(killed)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
