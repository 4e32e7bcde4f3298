"""The run directory: what a reader sees while somebody writes, after a kill, and when files are damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from altub.errors import RunError
from altub.metrics import Metrics
from altub.runs.run import Run, Status, list_runs, new_run_id, remove_left_caches
from altub.training.config import TrainingConfig, make_config
from altub.training.records import EpochRecord
from tests.conftest import REPOSITORY

CONFIG = make_config(category="weave", epochs=4)

# Holds a run as a trainer does, says so, and waits to be killed.
HOLDER = """
import os, sys, time
from altub.runs.run import Run
run = Run.open(sys.argv[1])
with run.lock():
    status = run.read_status()
    status.state, status.pid, status.epoch = "running", os.getpid(), 2
    run.write_status(status)
    print("held", flush=True)
    time.sleep(300)
"""


@contextmanager
def held_elsewhere(run: Run) -> Iterator[subprocess.Popen]:
    """Another process trains the run."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


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


# Alive, killed, locked.


def test_a_killed_trainer_shows_as_interrupted(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    with held_elsewhere(run) as process:
        assert run.is_alive() and run.status.state == "running"
        with pytest.raises(RunError, match=f"already being trained \\(process {process.pid}\\)"), run.lock():
            pass
        assert run.status.state == "running", "the refused one changed nothing"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not run.is_alive()
        status = run.status
        assert status.state == "interrupted" and "after epoch 2" in status.message and "Resume" in status.message
        assert run.read_status().state == "running", "what is on the disk stays as the trainer left it"
        with run.lock():
            assert run.is_alive()


def test_a_queued_run_has_time_to_start_but_not_for_ever(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    assert run.status.state == "queued"
    status = run.read_status()
    status.queued_at = time.time() - 3600
    run.write_status(status)
    assert run.status.state == "interrupted"


@pytest.mark.parametrize("state", ["stopped", "failed", "finished"])
def test_a_run_that_ended_stays_as_it_ended(tmp_path: Path, state: str) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    run.write_status(Status(state=state, message="so it is"))
    assert (run.status.state, run.status.message) == (state, "so it is")


def test_asking_whether_a_run_is_alive_makes_no_files(tmp_path: Path) -> None:
    assert not Run(tmp_path / "gone" / "r").is_alive()
    assert Run(tmp_path / "gone" / "r").status.state == "interrupted"
    assert not (tmp_path / "gone").exists(), "a run that was removed must not come back empty"


def test_watchers_do_not_take_each_other_for_a_trainer(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    with run.lock():
        pass
    done, seen = threading.Event(), []

    def watch() -> None:
        while not done.is_set():
            seen.append(run.is_alive())

    threads = [threading.Thread(target=watch) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    with run.lock():  # and they do not keep a trainer from its run
        pass
    done.set()
    for thread in threads:
        thread.join()
    # While the trainer held it, "alive" is the right answer; that was an instant.
    assert len(seen) > 20 and seen.count(True) <= len(seen) // 4


def test_a_wish_to_stop_is_kept_until_it_is_cleared(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    run.request_stop()
    run.request_stop()
    assert Run.open(run.path).stop_requested()
    run.clear_stop()
    run.clear_stop()
    assert not run.stop_requested()


# Reading while somebody writes.


def test_a_reader_never_sees_half_a_status_or_history(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    done = threading.Event()

    def write() -> None:
        for epoch in range(1, 150):
            run.write_status(Status(state="stopped", epoch=epoch, message="x" * (epoch * 97 % 5000)))
            values = np.full((epoch, 4), epoch, np.float32)
            run.write_base_history([(values, values)] * 2)
        done.set()

    writer = threading.Thread(target=write)
    run.write_status(Status(state="stopped", epoch=1))
    writer.start()
    looks, last = 0, 1
    while not done.is_set():
        status = run.read_status()
        assert status.state == "stopped" and len(status.message) in (0, status.epoch * 97 % 5000)
        assert status.epoch >= last, "never an older one"
        last = status.epoch
        for mean, log_std in run.base_history():
            assert len(mean) == len(log_std) == mean[0, 0]
        looks += 1
    writer.join()
    assert looks > 10


# Damaged files.


def test_half_a_line_of_events_is_left_out(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    for epoch in (1, 2):
        run.append_event(EpochRecord(epoch=epoch, loss=0.1 + epoch))
    whole = (run.path / "events.jsonl").read_bytes()
    for cut in range(1, len(whole)):
        (run.path / "events.jsonl").write_bytes(whole[:cut])
        epochs = [event.epoch for event in run.events()]
        assert epochs == [1, 2][: whole[: cut + 1].count(b"\n")], f"cut at {cut}"
    (run.path / "events.jsonl").write_bytes(whole[:-7])
    run.keep_events(1)
    run.append_event(EpochRecord(epoch=2, loss=2.1))
    assert [event.epoch for event in run.events()] == [1, 2], "what follows half a line is whole again"


def test_rubbish_among_the_events_is_left_out(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    (run.path / "events.jsonl").write_bytes(b'{"epoch": 1}\n\xff\xfe\0\n[3]\n7\n{"loss": 1}\n{"epoch": 2}\n')
    assert run.events() == [EpochRecord(epoch=1), EpochRecord(epoch=2)]
    run.keep_events(1)
    assert (run.path / "events.jsonl").read_text() == '{"epoch": 1}\n'


def test_events_keep_every_bit_through_a_resume(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    events = [EpochRecord(epoch=k, loss=1 / (3 * k), test=None) for k in range(1, 5)]
    for event in events:
        run.append_event(event)
    run.keep_events(3)
    assert run.events() == events[:3]
    with pytest.raises(ValueError, match="JSON"):
        run.append_event(EpochRecord.model_construct(epoch=4, loss=float("nan")))
    assert run.events() == events[:3]


def history(epochs: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [tuple(rng.normal(size=(epochs, channels)).astype(np.float32) for _ in "ms") for channels in (4, 8, 2)]


def test_base_history_round_trip(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    written = history(5)
    run.write_base_history(written)
    assert len(run.base_history()) == 3
    for read, wrote in zip(run.base_history(), written, strict=True):
        for a, b in zip(read, wrote, strict=True):
            np.testing.assert_array_equal(a, b)


def test_damaged_base_history_counts_as_none(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    run.write_base_history(history(5))
    path = run.path / "base_history.npz"
    whole = path.read_bytes()
    assert run.base_history()
    for cut in range(0, len(whole), 41):
        path.write_bytes(whole[:cut])
        assert run.base_history() == [], f"cut at {cut}"
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    path.write_bytes(flipped)
    assert run.base_history() == []
    for rubbish in (b"\x93NUMPY\x01\x00", b"rubbish" * 100):
        path.write_bytes(rubbish)
        assert run.base_history() == []


def test_base_history_is_never_unpickled(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    np.savez(run.path / "base_history.npz", head0_mean=np.array([{"a": 1}], object), head0_log_std=np.zeros((1, 1)))
    assert run.base_history() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state": "flying"}', b'{"epoch": "many"}', b"\xff\xfe"])
def test_damaged_status_is_said(tmp_path: Path, content: bytes) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    (run.path / "status.json").write_bytes(content)
    assert run.read_status().message == "status.json is missing or damaged."
    assert run.status.state == "interrupted"


def test_a_status_of_a_later_version_is_read(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    (run.path / "status.json").write_text(json.dumps({"state": "finished", "epoch": 3, "mood": "good"}))
    assert run.status.state == "finished" and run.status.epoch == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"category": "a", "epochs": 0}', b"\xff\xfe"])
def test_damaged_config_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    (run.path / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=r"config\.json of run r") as caught:
        _ = run.config
    assert "\n" not in str(caught.value)


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
