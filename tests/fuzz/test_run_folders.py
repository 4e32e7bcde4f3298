"""Hostile run folders: the lists never fail, and what is asked of a single run is answered or refused in one line."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from altub import AnomalyDetector
from altub.hub.pictures import card_pictures
from altub.runs.damaged import list_damaged, remove_run
from altub.runs.launchers.base import find_launcher
from altub.runs.run import Run, list_runs
from altub.training.checkpoint import load_checkpoint
from altub.ui.offers import find_model, list_offers
from altub.ui.train.heatmaps import example_cards
from altub.ui.watch import RunWatch, describe_view
from tests.fuzz.run_folders import hostile_runs
from tests.fuzz.verdict import LONGEST, count, problem, report

pytestmark = pytest.mark.usefixtures("quick_processes")

CASES = 60
PICTURED = 20  # each so manieth case: drawing takes long


def lists(root: Path) -> Iterable[tuple[str, Callable[[], Any]]]:
    """What every tab and command does with the whole runs folder: these may not even refuse."""
    yield "runs", lambda: [run.status for run in list_runs(root)]
    yield "models", lambda: [offer.label for offer in list_offers(root)]
    yield "damaged", lambda: [len(damaged.reason) < LONGEST or 1 / 0 for damaged in list_damaged(root)]
    yield "views", lambda: [describe_view(view) for view in RunWatch(root).views()]


def questions(run: Run) -> Iterable[tuple[str, Callable[[], Any]]]:
    """What is asked of one run."""
    yield "settings", lambda: run.config
    yield "epochs", lambda: run.last_and_best()
    yield "base history", lambda: run.base_history()
    yield "place", lambda: find_launcher(run).place(run)
    yield "model", lambda: find_model(run.id, run.path.parent)


def never(action: Callable[[], Any]) -> str | None:
    """What `action` raised, AltUBErrors included."""
    refused: list[str] = []

    def listen() -> None:
        try:
            action()
        except Exception as error:
            refused.append(f"{type(error).__name__}: {error}"[:300])
            raise

    return problem(listen) or next(iter(refused), None)


def test_damaged_runs_take_nothing_else_down(trained_run: Run, tmp_path: Path) -> None:
    pyramid = AnomalyDetector.load(trained_run.model_dir, device="cpu").pyramid

    def load(run: Run, changed: str) -> None:
        """The weights that were changed; loading all of them each time takes long."""
        if "model/" in changed:
            AnomalyDetector.load(run.model_dir, device="cpu")
        if "checkpoint/" in changed:
            load_checkpoint(run.checkpoint_file, copy.deepcopy(pyramid), {})

    problems = []
    for number, (name, root) in enumerate(hostile_runs(4, count(CASES), trained_run.path, tmp_path)):
        (folder,) = root.iterdir()
        run = Run(folder)
        problems += [(f"{name}, list of {what}", never(action)) for what, action in lists(root)]
        problems += [(f"{name}, {what}", problem(action, tmp_path)) for what, action in questions(run)]
        if number % PICTURED == 0:
            problems.append((f"{name}, card", problem(lambda run=run: card_pictures(run, include_examples=True))))
        if "examples/" in name:
            problems.append((f"{name}, heatmaps", problem(lambda run=run: example_cards(run, 1))))
        problems.append((f"{name}, weights", problem(lambda run=run, name=name: load(run, name), tmp_path)))
    report(problems)


@pytest.mark.parametrize("name", ["config.json", "status.json", "model/config.json", "data.json"])
def test_deep_nesting_takes_nothing_else_down(trained_run: Run, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(trained_run.path, tmp_path / "nested")
    (folder / name).write_bytes(b"[" * 100_000)
    report((what, never(action)) for what, action in lists(tmp_path))


@pytest.mark.parametrize("name", ["model", "model/config.json", "status.json"])
def test_links_that_lead_nowhere_take_nothing_else_down(trained_run: Run, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(trained_run.path, tmp_path / "linked")
    (folder / name).rename(folder / "moved")
    (folder / name).symlink_to(folder / name)
    report((what, never(action)) for what, action in lists(tmp_path))


def test_damaged_runs_hide_no_others_and_can_be_removed(trained_run: Run, tmp_path: Path) -> None:
    root = tmp_path / "all"
    for _, single in hostile_runs(5, 40, trained_run.path, tmp_path / "single"):
        (folder,) = single.iterdir()
        shutil.move(folder, root / folder.name)
    shutil.copytree(trained_run.path, root / "good")
    report((what, never(action)) for what, action in lists(root))
    assert "good" in [offer.id for offer in list_offers(root)]
    assert "good" in [view.id for view in RunWatch(root).views()]
    for run in list_damaged(root):
        remove_run(run.id, root)
    assert not list_damaged(root)
