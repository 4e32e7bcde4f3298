"""The run directory: made, opened, found by its id, listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from altub.errors import RunError
from altub.metrics import Metrics
from altub.runs.run import Run, Status, list_runs, new_run_id, remove_left_caches
from altub.training.config import TrainingConfig, make_config
from altub.training.records import EpochRecord

CONFIG = make_config(category="weave", epochs=4)


def test_a_new_run_waits(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "deep" / "r", CONFIG)
    assert (run.id, run.config, run.status.state, run.status.epochs) == ("r", CONFIG, "queued", 4)
    assert run.events() == [] and run.base_history() == [] and run.last_and_best() == (None, None)
    assert not run.is_alive() and not run.stop_requested()
    assert Run.open(run.path).config == CONFIG


@pytest.mark.parametrize(
    "settings",
    [
        {"base": {"base_update": "moments", "interval": 3}},
        {"stages": (1, 2), "augment": ("hflip", "rot90"), "seed": 2**62},
        {"data": "/data/Prüfteile", "smoothing": 0.1, "device": "cuda:1"},
    ],
)
def test_config_comes_back_as_it_was(tmp_path: Path, settings: dict) -> None:
    config = make_config(category="weave", **settings)
    assert Run.create(tmp_path / "r", config).config == config


def test_a_rate_that_follows_the_flow_comes_back(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"base": CONFIG.base.model_copy(update={"lr": None})})
    assert Run.create(tmp_path / "r", config).config.base.lr is None


# A second start.


def test_a_begun_run_is_not_begun_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    run.checkpoint_file.parent.mkdir()
    run.checkpoint_file.write_bytes(b"precious")
    run.write_status(Status(state="stopped", epoch=3))
    with pytest.raises(RunError, match="already holds a run"):
        Run.create(run.path, make_config(category="other"))
    assert run.config == CONFIG and run.status.epoch == 3 and run.checkpoint_file.read_bytes() == b"precious"


def test_a_run_that_never_got_to_a_checkpoint_gives_way_with_all_it_left(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    run.append_event(EpochRecord(epoch=1))
    run.write_base_history([(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))])
    for name in ("model", "examples"):
        (run.path / name).mkdir()
        (run.path / name / "old").write_bytes(b"")
    run.request_stop()
    run.write_status(Status(state="failed", message="There is no category weave."))
    second = Run.create(run.path, make_config(category="other"))
    assert second.config.category == "other" and second.status.state == "queued" and second.status.message == ""
    assert second.events() == [] and second.base_history() == [] and not second.stop_requested()
    assert not second.model_dir.exists() and not second.examples_dir.exists()


def test_a_run_in_training_is_not_begun_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    with pytest.raises(RunError, match="being trained right now"):
        Run.create(run.path, make_config(category="other"))  # queued a moment ago: its process is on its way
    run.write_status(Status(state="running", pid=1))
    with run.lock(), pytest.raises(RunError, match="being trained right now"):
        Run.create(run.path, make_config(category="other"))
    assert run.config == CONFIG


@pytest.mark.parametrize("content", ['{"format": "altub", "format_version": 1}', "[1, 2]", "not json", "\udcff"])
def test_somebody_elses_config_json_is_not_overwritten(tmp_path: Path, content: str) -> None:
    """Such as the one of a model folder."""
    data = content.encode(errors="surrogateescape")
    (tmp_path / "config.json").write_bytes(data)
    (tmp_path / "model").mkdir()
    with pytest.raises(RunError, match="not a run's"):
        Run.create(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_bytes() == data and (tmp_path / "model").is_dir()


def test_a_run_cannot_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "r"):
        with pytest.raises(RunError, match="Choose another directory"):
            Run.create(path, CONFIG)
    assert (tmp_path / "file").read_text() == "x"


# Ids from outside.


@pytest.mark.parametrize(
    "run_id",
    [
        "",
        ".",
        "..",
        "../x",
        "../../etc",
        "a/../../x",
        "/etc",
        "a/b",
        "a\\b",
        ".hidden",
        "C:x",
        "a\0b",
        "a\n",
        "x" * 200,
    ],
)
def test_ids_that_lead_elsewhere_are_refused(tmp_path: Path, run_id: str) -> None:
    root = tmp_path / "runs"
    for folder in (tmp_path / "x", root / ".hidden", root / "a" / "b", tmp_path):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")
    with pytest.raises(RunError, match="not the id of a run"):
        Run.find(run_id, root)


@pytest.mark.parametrize("run_id", ["r", "bottle-20260101-120000-ab12", "my run", "Prüfteil_2", "a..b"])
def test_every_run_that_is_listed_is_found(tmp_path: Path, run_id: str) -> None:
    Run.create(tmp_path / run_id, CONFIG)
    assert [run.id for run in list_runs(tmp_path)] == [run_id]
    assert Run.find(run_id, tmp_path).path == tmp_path / run_id


def test_an_unknown_id_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run gone") as caught:
        Run.find("gone", tmp_path)
    assert str(tmp_path) not in str(caught.value)


def test_opening_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        Run.open(tmp_path)


def test_new_ids_are_readable_found_and_different(tmp_path: Path) -> None:
    ids = {new_run_id("Prüf teil/../2") for _ in range(50)}
    assert len(ids) == 50
    for run_id in ids:
        assert run_id.startswith("pr-f-teil-2-")
        assert Run.create(tmp_path / run_id, CONFIG).id == Run.find(run_id, tmp_path).id
    assert new_run_id("///").startswith("run-")


def test_runs_are_listed_newest_first_whatever_state_they_are_in(tmp_path: Path) -> None:
    for age, name in enumerate(["c", "a", "b"]):
        run = Run.create(tmp_path / name, CONFIG)
        status = run.read_status()
        status.created = 1000.0 - age
        run.write_status(status)
    (Run.create(tmp_path / "no-status", CONFIG).path / "status.json").unlink()
    (Run.create(tmp_path / "broken", CONFIG).path / "config.json").write_text("{")
    (tmp_path / "broken" / "status.json").write_bytes(b"\xff")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "config.json").write_text("{}")
    runs = list_runs(tmp_path)
    assert [run.id for run in runs][:3] == ["c", "a", "b"]
    assert {run.id for run in runs[3:]} == {"no-status", "broken"}
    for run in runs:
        run.status, run.events(), run.base_history(), run.last_and_best()  # none of them fails


def test_no_runs_folder_is_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == []
    (tmp_path / "file").write_text("x")
    assert list_runs(tmp_path / "file") == []


def test_runs_folder_comes_from_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_RUNS", str(tmp_path))
    Run.create(tmp_path / "r", CONFIG)
    assert [run.id for run in list_runs()] == ["r"] and Run.find("r").path == tmp_path / "r"


# Metrics.


def test_last_is_last_and_best_is_best_by_pixels(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    rows = [None, (0.7, 0.9), (0.9, 0.8), None, (0.8, 0.85), None]
    for epoch, row in enumerate(rows, start=1):
        run.append_event(EpochRecord(epoch=epoch, test=row and Metrics(image_auroc=row[0], pixel_auroc=row[1])))
    last, best = run.last_and_best()
    assert last == EpochRecord(epoch=5, test=Metrics(image_auroc=0.8, pixel_auroc=0.85))
    assert best == EpochRecord(epoch=2, test=Metrics(image_auroc=0.7, pixel_auroc=0.9))


def test_without_masks_best_goes_by_images(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    for epoch, value in enumerate([0.5, 0.9, None, 0.6], start=1):
        run.append_event(EpochRecord(epoch=epoch, test=Metrics(image_auroc=value, pixel_auroc=None)))
    last, best = run.last_and_best()
    assert (last.epoch, best.epoch) == (4, 2)


def test_trained_run_can_be_read_by_all_this(trained_run: Run, small_config: TrainingConfig) -> None:
    assert trained_run.config == small_config
    assert [run.id for run in list_runs(trained_run.path.parent)] == ["weave-run"]
    assert Run.find("weave-run", trained_run.path.parent).last_and_best()[0].epoch == 4


def test_the_cache_of_a_killed_trainer_goes_when_another_run_is_made(tmp_path: Path) -> None:
    held, killed = (Run.create(tmp_path / name, CONFIG) for name in ("held", "killed"))
    for run in (held, killed):
        (run.path / "cache/training").mkdir(parents=True)
        (run.path / "cache/training/0.f32").write_bytes(bytes(1000))
    with held.lock():  # by a trainer
        Run.create(tmp_path / "new", CONFIG)
        assert (held.path / "cache/training/0.f32").is_file(), "in use"
        assert not (killed.path / "cache").exists()
        assert (killed.path / "config.json").is_file()
    remove_left_caches(tmp_path)
    assert not (held.path / "cache").exists()


def test_looking_for_left_caches_takes_no_lock_where_there_is_none(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", CONFIG)
    remove_left_caches(tmp_path)
    remove_left_caches(tmp_path / "nothing")
    assert not (run.path / "run.lock").exists()
