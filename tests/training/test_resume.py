"""A resumed training goes on with the very images and counters that it had, or says what is in the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from altub.errors import RunError
from altub.runs.run import Run
from altub.training.config import TrainingConfig
from altub.training.loop import train
from tests.conftest import SIDE, write_category
from tests.training.runs import assert_same_weights, run_through, stop_after, variant


@pytest.fixture
def growing(tmp_path: Path, small_config: TrainingConfig) -> tuple[Path, Run]:
    """A category of its own, and a run of it that was stopped within its second epoch."""
    folder = write_category(tmp_path / "data" / "growing")
    run = Run.create(tmp_path / "r", variant(small_config, data=str(tmp_path / "data"), category="growing"))
    assert [event.kind for event in train(run, should_stop=stop_after(9))][-1] == "stopped"
    assert run.checkpoint_file.exists()
    return folder, run


def test_images_that_came_later_are_left_out_on_resume(
    tmp_path: Path, growing: tuple[Path, Run], small_config: TrainingConfig
) -> None:
    folder, run = growing
    whole = run_through(tmp_path / "whole", run.config)
    for copy in range(9):
        (folder / f"train/good/x{copy}.png").write_bytes((folder / "train/good/000.png").read_bytes())
    for _ in train(run):
        pass
    assert_same_weights(whole, run)
    assert [event.test for event in run.events()] == [event.test for event in whole.events()]
    assert any("9 images were added since this training began" in note for note in run.status.notes)


def test_notes_stay_on_resume_unless_they_no_longer_hold(tmp_path: Path, small_config: TrainingConfig) -> None:
    config = variant(small_config, epochs=1)
    assert "There is no base epoch" in config.notes[0]
    run = Run.create(tmp_path / "r", config)
    list(train(run, should_stop=stop_after(3)))
    with run.changing_status() as status:
        assert status.notes[0] == config.notes[0]
        status.notes.append("Pretrained weights were not found.")
    run.replace_config(config.model_copy(update={"epochs": 2}))
    list(train(run))
    assert run.status.state == "finished" and run.status.notes == ["Pretrained weights were not found."]


@pytest.mark.parametrize("part", ["train/good/003.png", "test/blot/001.png"])
@pytest.mark.parametrize("how", ["missing", "changed"])
def test_changed_data_is_named_on_resume(growing: tuple[Path, Run], part: str, how: str) -> None:
    folder, run = growing
    if how == "missing":
        (folder / part).unlink()
    else:
        Image.new("RGB", (SIDE, SIDE)).save(folder / part)
    with pytest.raises(RunError, match=f"data of run r changed .*{how}: {part}"):
        list(train(run))
    assert run.status.state == "failed" and part in run.status.message


def test_images_held_out_stay_held_out(growing: tuple[Path, Run]) -> None:
    """An image more or less would draw another split, with trained images among the held-out ones."""
    folder, run = growing
    recorded = {entry["name"]: entry["part"] for entry in json.loads(run.data_file.read_text())["images"]}
    assert list(recorded.values()).count("held-out") == 4 and len(recorded) == 12 + 8
    (folder / "train/good/zzz.png").write_bytes((folder / "train/good/000.png").read_bytes())
    for _ in train(run):
        pass
    again = {entry["name"]: entry["part"] for entry in json.loads(run.data_file.read_text())["images"]}
    assert again == recorded


def test_a_damaged_checkpoint_costs_an_epoch_and_not_the_run(
    tmp_path: Path, small_config: TrainingConfig, trained_run: Run
) -> None:
    run = Run.create(tmp_path / "r", small_config)
    for event in train(run):
        if event.kind == "epoch" and event.status.epoch == 3:
            run.request_stop()
    content = run.checkpoint_file.read_bytes()
    run.checkpoint_file.write_bytes(content[: len(content) // 2])
    for _ in train(run):
        pass
    assert_same_weights(trained_run, run)
    assert any("last checkpoint is damaged" in note for note in run.status.notes)


def test_resumed_at_an_epochs_end_the_rate_is_the_same(
    tmp_path: Path, small_config: TrainingConfig, trained_run: Run
) -> None:
    """All steps of epoch 3 are done, its record is not written yet."""
    run = Run.create(tmp_path / "r", small_config)
    stage = ""

    def stop() -> bool:
        return stage.startswith("evaluating epoch 3")

    for _ in train(run, should_stop=stop):
        stage = run.read_status().stage
    assert run.status.state == "stopped" and run.status.epoch == 2
    for _ in train(run):
        pass
    assert [event.lr for event in run.events()] == [event.lr for event in trained_run.events()]
