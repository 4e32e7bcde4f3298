"""Many images to a folder: killed at any moment, the prediction goes on and ends with the same table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from altub.errors import ConfigError, DiskFullError
from altub.inference.detector import AnomalyDetector
from altub.inference.exports import collect_images
from altub.inference.folder import predict_to_folder
from altub.inference.journal import JOURNAL, PredictionJournal
from altub.inference.pipeline import run_in_order
from altub.runs.run import Run
from tests.conftest import REPOSITORY
from tests.inference.pictures import write_pictures

pytestmark = pytest.mark.usefixtures("quick_processes")

IMAGES = 60


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "in", IMAGES)


def done_in(journal: Path) -> list[dict]:
    """The images whose whole line is in the journal."""
    whole = journal.read_bytes().split(b"\n")[1:-1]
    return [entry for line in whole for entry in json.loads(line)]


def test_a_killed_prediction_goes_on_and_ends_with_the_same_table(
    trained_run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "altub", "predict", str(pictures), "--model", str(trained_run.model_dir)]
    process = subprocess.Popen([*command, "--output", str(out), "--device", "cpu"], cwd=REPOSITORY)
    while process.poll() is None and (not (out / JOURNAL).exists() or (out / JOURNAL).read_bytes().count(b"\n") < 2):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {entry["image"]: entry for entry in done_in(out / JOURNAL)}
    assert 0 < len(before) < IMAGES and not (out / "predictions.csv").exists()
    with (out / JOURNAL).open("ab") as file:
        file.write(b'[{"image": "cut o')
    drawn = {path: path.stat().st_mtime_ns for entry in before.values() if entry["row"]["overlay"]
             for path in [out / entry["row"]["overlay"]]}  # fmt: skip

    detector = AnomalyDetector.load(trained_run.model_dir, "cpu", for_scoring=True)  # as `predict` does
    images = collect_images([pictures])
    predicted: list[int] = []
    compute = detector.compute_maps
    monkeypatch.setattr(
        detector, "compute_maps", lambda images, size: (predicted.append(len(images)), compute(images, size))[1]
    )
    counts: list[tuple[int, int]] = []
    resumed: list[int] = []
    kept = predict_to_folder(
        detector,
        images,
        out,
        on_resume=resumed.append,
        progress=lambda done, total: counts.append((done, total)),
    )
    assert kept == len(before) and resumed == [kept]
    assert counts == [(done, IMAGES) for done in range(kept, IMAGES + 1)]
    assert sum(predicted) == sum(str(path) not in before for path in images if path.name != "zz.png")
    assert all(path.stat().st_mtime_ns == at for path, at in drawn.items())
    assert not (out / JOURNAL).exists()
    assert predict_to_folder(detector, images, whole) == 0
    assert (out / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert {p.relative_to(out) for p in out.rglob("*")} == {p.relative_to(whole) for p in whole.rglob("*")}


def test_what_other_settings_made_or_a_changed_file_is_done_again(
    trained_run: Run, pictures: Path, tmp_path: Path
) -> None:
    detector, images = AnomalyDetector.load(trained_run.model_dir, "cpu"), collect_images([pictures])[:20]
    plain = {"overlays": "none", "maps": "none"}

    def stopped(**more: object) -> int:
        """Ends after some images; how many had been done before."""
        kept: list[int] = []

        def progress(done: int, total: int) -> None:
            if done >= 16:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            predict_to_folder(
                detector, images, tmp_path / "o", **{**plain, **more}, on_resume=kept.append, progress=progress
            )
        assert (tmp_path / "o" / "predictions.csv").read_text().count("\n") >= 16, "the table of what was done"
        return sum(kept)

    assert stopped() == 0 and stopped() == 16
    Image.new("RGB", (9, 9)).save(images[3])
    assert stopped() == 15
    assert stopped(masks=False) == 0
    detector.pyramid.bases[0].mean += 1
    assert stopped(masks=False) == 0
    (tmp_path / "o" / JOURNAL).write_bytes(b'{"key": 1}\n[{"image": 3}]\n')
    assert predict_to_folder(detector, images, tmp_path / "o", **plain) == 0


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = PredictionJournal(tmp_path, "key")

    def full(_: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "_file", type("Full", (), {"seek": lambda *_: 0, "write": staticmethod(full)})())
    with pytest.raises(DiskFullError):
        journal.add([(tmp_path / "a.png", "a", {})])


def test_work_in_threads_is_in_order_and_bounded() -> None:
    at_work, most = 0, 0

    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return -number

    def items():
        nonlocal at_work, most
        for number in range(30):
            at_work += 1
            most = max(most, at_work)
            yield number

    found = []
    for number, result in run_in_order(work, items(), threads=3, weight=lambda number: 10, most=25):
        at_work -= 1
        found.append((number, result))
    assert found == [(number, -number) for number in range(30)]
    assert most <= 4, "two at work, one whose result is fetched, one that waits for room"

    def fails(number: int) -> int:
        if number == 2:
            raise ValueError("no")
        time.sleep(0.05)
        return number

    discarded: list[int] = []
    with pytest.raises(ValueError, match="no"):
        list(run_in_order(fails, range(30), threads=1, discard=discarded.append))
    assert discarded == [3], "taken, never begun"


def test_reduced_decoding_gives_nearly_the_same_scores_and_pictures_of_the_whole_size(
    trained_run: Run, data_folder: Path, tmp_path: Path
) -> None:
    detector = AnomalyDetector.load(trained_run.model_dir, "cpu", for_scoring=True)
    (tmp_path / "in").mkdir()
    for number, path in enumerate(sorted((data_folder / "weave/test").rglob("*.png"))):
        exif = Image.Exif()
        exif[0x0112] = 6 if number % 2 else 1  # turned by a quarter
        large = Image.open(path).convert("RGB").resize((700, 560), Image.Resampling.BICUBIC)
        large.save(tmp_path / "in" / f"{number}.jpg", quality=95, exif=exif)
    images = collect_images([tmp_path / "in"])
    rows: dict[bool, list[dict]] = {False: [], True: []}
    for reduced, found in rows.items():
        out = tmp_path / str(reduced)
        predict_to_folder(detector, images, out, overlays="none", maps="png", reduced=reduced, on_row=found.append)
    spread = max(row["score"] for row in rows[False]) - min(row["score"] for row in rows[False])
    for whole, row in zip(rows[False], rows[True], strict=True):
        assert abs(row["score"] - whole["score"]) < 0.05 * spread and row["verdict"] == whole["verdict"]
        assert (row["score"] != whole["score"]) and row["map"] == whole["map"]
        for picture in (row["map"], row["mask"]):
            size = Image.open(tmp_path / "True" / picture).size
            assert size == Image.open(tmp_path / "False" / picture).size and sorted(size) == [560, 700]
    with pytest.raises(ConfigError, match="show images at their own size"):
        predict_to_folder(detector, images, tmp_path / "o", reduced=True)


def test_a_journal_of_whole_images_is_not_gone_on_with_by_reduced_ones(trained_run: Run, tmp_path: Path) -> None:
    detector = AnomalyDetector.load(trained_run.model_dir, "cpu", for_scoring=True)
    images = collect_images([write_pictures(tmp_path / "in", 20)])
    kept: list[int] = []

    def stop(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    for reduced in (False, True, True):
        with pytest.raises(KeyboardInterrupt):
            predict_to_folder(
                detector, images, tmp_path / "o", overlays="none", maps="none", reduced=reduced, on_resume=kept.append,
                progress=stop,
            )  # fmt: skip
    assert kept == [16], "by the same decoding only"
