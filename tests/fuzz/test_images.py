"""Hostile images are read as upright RGB, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from altub import AnomalyDetector
from altub.data.images import read_image, read_mask
from altub.runs.run import Run
from tests.fuzz.images import hostile_images
from tests.fuzz.verdict import contents, count, problem, report

CASES = 540
PIXELS = 1_000_000  # allowed in these tests


@pytest.fixture(autouse=True)
def pixel_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_MAX_PIXELS", str(PIXELS))


def read(path: Path) -> None:
    image = read_image(path)
    assert image.mode == "RGB" and 0 < image.width * image.height <= PIXELS


def test_images_are_read_or_refused(tmp_path: Path) -> None:
    problems = []
    for number, (name, ending, content) in enumerate(hostile_images(1, count(CASES))):
        path = tmp_path / f"part{ending}"
        path.write_bytes(content)
        problems.append((name, problem(lambda path=path: read(path), tmp_path)))
        problems.append((f"{name} as bytes", problem(lambda content=content: read_image(content), tmp_path)))
        if number % 3 == 0:
            problems.append((f"{name} as a mask", problem(lambda path=path: read_mask(path, (9, 9)), tmp_path)))
        path.unlink()
        if contents(tmp_path):
            problems.append((name, f"left {list(contents(tmp_path))}"))
    report(problems)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    names = ("loop.png", "gone.png", "folder.png", "missing.png", "loop.png/a.png", "x" * 300 + ".png")
    report((name, problem(lambda name=name: read_image(tmp_path / name), tmp_path)) for name in names)


def test_models_answer_to_hostile_images(trained_run: Run, tmp_path: Path) -> None:
    detector = AnomalyDetector.load(trained_run.model_dir, device="cpu")
    problems = []
    for name, _, content in hostile_images(2, count(60)):
        problems.append((name, problem(lambda content=content: detector.predict(content), tmp_path)))
    report(problems)
