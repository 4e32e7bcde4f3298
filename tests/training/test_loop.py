"""Alternating training: what moves when, exact resume, and every way it can end."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from altub import files
from altub.data.splits import split_held_out
from altub.errors import DataError, DiskFullError, RunError
from altub.runs.run import Run
from altub.training.config import TrainingConfig
from altub.training.loop import NonFiniteLossError, train
from altub.training.steps import Alternation
from tests.conftest import REPOSITORY, SIDE, write_category
from tests.training.runs import assert_same_weights, run_through, stop_after, variant, weights

pytestmark = pytest.mark.usefixtures("quick_processes")


def test_finished_run_tells_the_whole_story(trained_run: Run) -> None:
    status, events, history = trained_run.status, trained_run.events(), trained_run.base_history()
    assert (status.state, status.epoch, status.progress) == ("finished", 4, 1.0)
    assert [event.epoch for event in events] == [1, 2, 3, 4]
    assert [event.phase for event in events] == ["flow", "base", "flow", "base"]
    assert [event.base_steps for event in events] == [0, 3, 0, 3]
    assert all(np.isfinite(event.held_out) for event in events)
    assert len(events[0].loss_heads) == len(history) == 3
    assert all(mean.shape == log_std.shape and len(mean) == 5 for mean, log_std in history)
    assert not history[0][0][0].any() and history[0][0][-1].any(), "the base starts at 0 and moves"
    assert set(events[-1].test.measured()) == {"image_auroc", "pixel_auroc", "aupro", "f1_max", "image_f1_max"}
    last, best = trained_run.last_and_best()
    assert last.epoch == 4 and best.test.pixel_auroc >= last.test.pixel_auroc
    assert sorted(path.name for path in trained_run.examples_dir.glob("*.npz"))[-1] == "epoch_00004.npz"
    assert not (trained_run.path / "cache").exists() or not list((trained_run.path / "cache").iterdir())


def test_it_learns_to_find_the_blot(data_folder: Path, small_config: TrainingConfig, tmp_path: Path) -> None:
    run = run_through(tmp_path / "r", variant(small_config, epochs=12, flow={"steps": 4, "norm": "channel"}))
    events = run.events()
    assert events[-1].held_out < events[0].held_out
    assert run.last_and_best()[0].test.image_auroc > 0.9


def test_a_seed_reproduces_a_run_exactly_and_another_does_not(
    small_config: TrainingConfig, trained_run: Run, tmp_path: Path
) -> None:
    assert_same_weights(trained_run, run_through(tmp_path / "again", small_config))
    other = run_through(tmp_path / "other", variant(small_config, seed=1))
    assert not torch.equal(
        weights(other)["pyramid.heads.0.flow.module_list.0.permutation"],
        weights(trained_run)["pyramid.heads.0.flow.module_list.0.permutation"],
    )


@pytest.mark.parametrize("steps", [10, 14, 20])
def test_stopped_and_resumed_is_undisturbed(
    small_config: TrainingConfig, trained_run: Run, tmp_path: Path, steps: int
) -> None:
    run = Run.create(tmp_path / "r", small_config)
    kinds = [event.kind for event in train(run, should_stop=stop_after(steps))]
    assert kinds[-1] == "stopped" and run.status.state == "stopped"
    assert 0 < len(run.events()) < 4 or run.status.step > 0
    for _ in train(run):
        pass
    assert run.status.state == "finished"
    assert_same_weights(trained_run, run)
    assert [event.loss for event in run.events()] == [event.loss for event in trained_run.events()]
    for (mean, _), (expected, _) in zip(run.base_history(), trained_run.base_history(), strict=True):
        np.testing.assert_array_equal(mean, expected)


def test_a_stop_wish_in_the_run_directory_is_heard(small_config: TrainingConfig, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", small_config)
    kinds = []
    for event in train(run):
        kinds.append(event.kind)
        if event.kind == "epoch":
            run.request_stop()
    assert kinds[-1] == "stopped" and run.status.epoch == 1 and not run.stop_requested()


def test_killed_in_the_middle_of_an_epoch_and_resumed_is_undisturbed(
    small_config: TrainingConfig, tmp_path: Path
) -> None:
    """kill -9 between two steps of epoch 3, then `--resume`: the weights of an undisturbed run of the same machine."""
    program = (
        "import os, sys, signal\n"
        "from altub.runs.run import Run\n"
        "from altub.training.loop import train\n"
        "for event in train(Run.open(sys.argv[1])):\n"
        "    if event.status.epoch == 2 and event.status.step == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}

    def trainer(code: str, run: Run) -> int:
        return subprocess.run([sys.executable, "-c", code, str(run.path)], env=environment, timeout=300).returncode

    whole, killed = (Run.create(tmp_path / name, small_config) for name in ("whole", "killed"))
    assert trainer(program.split("    if")[0] + "    pass", whole) == 0
    assert trainer(program, killed) == -signal.SIGKILL
    assert killed.status.state == "interrupted" and "Resume" in killed.status.message
    assert [event.epoch for event in killed.events()] == [1, 2]
    assert trainer(program.split("    if")[0] + "    pass", killed) == 0
    assert killed.status.state == "finished"
    assert_same_weights(whole, killed)


def test_rows_that_the_checkpoint_does_not_know_are_repeated(small_config: TrainingConfig, tmp_path: Path) -> None:
    """A trainer killed between writing an epoch's row and its checkpoint must not leave the row twice."""
    run = Run.create(tmp_path / "r", small_config)
    for event in train(run):
        if event.kind == "epoch" and event.status.epoch == 2:
            run.append_event(event.record.model_copy(update={"epoch": 3}))
            run.request_stop()
    for _ in train(run):
        pass
    assert [event.epoch for event in run.events()] == [1, 2, 3, 4]


def test_second_start_of_the_same_run_is_refused(small_config: TrainingConfig, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", small_config)
    first = train(run)
    next(first)
    with pytest.raises(RunError, match="already being trained"):
        next(train(Run.open(run.path)))
    assert [event.kind for event in first][-1] == "finished", "the first one is not disturbed"


@pytest.mark.parametrize("update", ["gradient", "moments", "off"])
def test_what_moves_in_whose_turn(small_config: TrainingConfig, tmp_path: Path, update: str) -> None:
    base = {"base_update": update, "interval": 2, "on_top": False, "joint": False}
    run = Run.create(tmp_path / "r", variant(small_config, base=base, epochs=2))
    flows = []
    for event in train(run):
        if event.kind == "epoch":
            flows.append({k: v for k, v in weights(run).items() if ".flow." in k})
    mean = run.base_history()[0][0]
    assert not mean[1].any(), "strict: the base rests in the flow's turn"
    if update == "off":
        assert not mean[2].any()
        assert any(not torch.equal(flows[0][k], flows[1][k]) for k in flows[0])
    else:
        assert mean[2].any()
        assert all(torch.equal(flows[0][k], flows[1][k]) for k in flows[0]), "the flow rests in the base's turn"


def test_joint_base_moves_in_the_flow_turn_after_the_warm_up(small_config: TrainingConfig, tmp_path: Path) -> None:
    base = {"base_update": "gradient", "interval": 9, "joint": True, "warmup": 1}
    mean = run_through(tmp_path / "r", variant(small_config, base=base, epochs=2)).base_history()[0][0]
    assert not mean[1].any() and mean[2].any()


def test_moments_are_those_of_z_over_the_training_set(small_config: TrainingConfig, tmp_path: Path) -> None:
    from altub.data import load_category
    from altub.inference.detector import AnomalyDetector
    from altub.training.features import load_images

    run = run_through(tmp_path / "r", variant(small_config, base={"base_update": "moments", "interval": 2}, epochs=2))
    detector = AnomalyDetector.load(run.model_dir, "cpu")
    trained, _ = split_held_out(load_category(run.config.data, "weave").train, 0.1, 0)
    with torch.no_grad():
        features = detector.pyramid.normalise(detector.backbone(load_images(trained, SIDE)))
        for base, (z, _) in zip(detector.pyramid.bases, detector.pyramid.latents(features), strict=True):
            values = z.transpose(0, 1).flatten(1)
            torch.testing.assert_close(base.mean, values.mean(1), rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(base.log_std.exp(), values.std(1, correction=0), rtol=1e-3, atol=1e-4)


def test_by_step_the_base_has_its_turn_within_an_epoch(small_config: TrainingConfig, tmp_path: Path) -> None:
    base = {"base_update": "gradient", "interval": 2, "interval_unit": "step", "joint": False}
    events = run_through(tmp_path / "r", variant(small_config, base=base, epochs=2)).events()
    assert [event.base_steps for event in events] == [1, 2]  # steps 2, 4 and 6 of 6


@pytest.mark.parametrize("update", ["gradient", "moments"])
def test_on_top_the_flow_loses_nothing_to_the_base(small_config: TrainingConfig, tmp_path: Path, update: str) -> None:
    """Until the base has moved, flow and loss are the plain flow's to the last bit; then the base has its turn too."""
    on_top = {"base_update": update, "interval": 2, "joint": False, "on_top": True}
    plain = run_through(tmp_path / "plain", variant(small_config, base={"base_update": "off"}, epochs=2))
    run = run_through(tmp_path / "r", variant(small_config, base=on_top, epochs=2))
    ours, theirs = weights(run), weights(plain)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if ".flow." in name)
    assert run.base_history()[0][0][2].any() and not plain.base_history()[0][0][2].any()
    assert [event.phase for event in run.events()] == ["flow", "both"]
    assert [event.loss for event in run.events()] == [event.loss for event in plain.events()]
    assert run.events()[1].base_steps == (3 if update == "gradient" else 1)


def test_on_top_by_step_the_base_follows_the_flow_on_the_same_images(
    small_config: TrainingConfig, tmp_path: Path
) -> None:
    base = {"base_update": "gradient", "interval": 2, "interval_unit": "step", "joint": False, "on_top": True}
    events = run_through(tmp_path / "r", variant(small_config, base=base, epochs=2)).events()
    assert [event.base_steps for event in events] == [1, 2] and [event.phase for event in events] == ["flow"] * 2


@pytest.mark.parametrize("update", ["gradient", "moments"])
def test_stopped_in_the_base_turn_on_top_and_resumed_is_undisturbed(
    small_config: TrainingConfig, tmp_path: Path, update: str
) -> None:
    config = variant(small_config, base={"base_update": update, "interval": 1, "on_top": True}, epochs=2)
    whole, stopped = run_through(tmp_path / "whole", config), Run.create(tmp_path / "stopped", config)
    progress = []
    for event in train(stopped):
        progress.append(event.status.progress)
        if event.kind == "progress" and event.status.epoch == 1 and event.status.step > 3:
            stopped.request_stop()
    assert stopped.status.state == "stopped" and stopped.status.step > 3 and progress == sorted(progress)
    run = Run.open(stopped.path)
    for _ in train(run):
        pass
    assert run.status.progress == 1.0
    assert_same_weights(whole, run)
    assert [event.loss for event in run.events()] == [event.loss for event in whole.events()]


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(
    small_config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_enqueue = Alternation.enqueue

    def overflowing_enqueue(self: Alternation, features, phase, epoch, *rest):
        losses = real_enqueue(self, features, phase, epoch, *rest)
        if epoch == 2:
            with torch.no_grad():
                self.flow_parameters[0].fill_(float("nan"))
        return losses

    monkeypatch.setattr(Alternation, "enqueue", overflowing_enqueue)
    run = Run.create(tmp_path / "r", variant(small_config, base={"base_update": "off"}))
    with pytest.raises(NonFiniteLossError, match="epoch 1 are kept"):
        for event in train(run):
            if event.kind == "epoch":
                kept = weights(run)
    assert run.status.state == "failed" and "Lower the learning rate" in run.status.message
    assert all(torch.equal(kept[name], value) for name, value in weights(run).items())
    assert all(torch.isfinite(value).all() for value in weights(run).values())


def test_full_disk_is_said_and_loses_nothing(
    small_config: TrainingConfig, trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "r", small_config)
    real_fsync, full = os.fsync, []

    def fsync(handle: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_fsync(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(DiskFullError, match="disk is full"):
        for event in train(run):
            if event.kind == "epoch" and event.status.epoch == 2:
                full.append(True)
    full.clear()
    assert not list(run.path.rglob("*.tmp")), "no half-written file stays"
    assert run.status.state in ("interrupted", "failed") and run.checkpoint_file.exists()
    for _ in train(run):
        pass
    assert_same_weights(trained_run, run)


def test_bf16_trains_too(small_config: TrainingConfig, tmp_path: Path) -> None:
    run = run_through(tmp_path / "r", variant(small_config, precision="bf16", epochs=1))
    assert run.status.state == "finished" and run.status.device.endswith("bf16")


@pytest.mark.parametrize("augment", [("hflip",), ("hflip", "vflip", "rot90")])
def test_augmented_training_resumes_exactly(small_config: TrainingConfig, tmp_path: Path, augment) -> None:
    config = variant(small_config, augment=augment, epochs=2)
    whole = run_through(tmp_path / "whole", config)
    run = Run.create(tmp_path / "r", config)
    assert [event.kind for event in train(run, should_stop=stop_after(9))][-1] == "stopped"
    for _ in train(run):
        pass
    assert_same_weights(whole, run)


def test_disk_spill_and_recomputation_give_the_same_model(
    small_config: TrainingConfig, trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALTUB_FEATURE_MEMORY", "0")
    assert_same_weights(trained_run, run_through(tmp_path / "disk", small_config))
    assert not (tmp_path / "disk/cache/training").exists(), "the spilled features are removed at the end"
    monkeypatch.setattr("altub.training.features.DISK_RESERVE", 1 << 60)
    again = run_through(tmp_path / "again", small_config)
    for name, value in weights(trained_run).items():
        torch.testing.assert_close(weights(again)[name], value, rtol=1e-3, atol=1e-4)


def test_good_images_alone_are_enough(tmp_path: Path, small_config: TrainingConfig, data_folder: Path) -> None:
    config = variant(small_config, data=str(data_folder / "weave/train/good"), category="good", epochs=1)
    run = run_through(tmp_path / "r", config)
    assert run.events()[0].test is None and run.last_and_best() == (None, None)
    assert (run.examples_dir / "epoch_00001.npz").exists(), "held-out images stand in as examples"


def test_category_without_masks_gets_image_metrics(tmp_path: Path, small_config: TrainingConfig) -> None:
    write_category(tmp_path / "data" / "bare", masks=False)
    run = run_through(tmp_path / "r", variant(small_config, data=str(tmp_path / "data"), category="bare", epochs=1))
    test = run.events()[0].test
    assert test.image_auroc is not None and test.pixel_auroc is None and test.aupro is None


def test_too_few_good_images_is_said(tmp_path: Path, small_config: TrainingConfig) -> None:
    write_category(tmp_path / "data" / "few", good=5)
    run = Run.create(tmp_path / "r", variant(small_config, data=str(tmp_path / "data"), category="few"))
    with pytest.raises(DataError, match="5 good images are too few"):
        list(train(run))
    assert run.status.state == "failed" and "Add more images" in run.status.message


def test_held_out_images_are_never_trained_on(data_folder: Path) -> None:
    from altub.data import load_category

    samples = load_category(data_folder, "weave").train
    trained, held_out = split_held_out(samples, 0.1, seed=3)
    assert len(held_out) == 4 and set(trained).isdisjoint(held_out)
    assert sorted([*trained, *held_out], key=lambda s: s.path) == sorted(samples, key=lambda s: s.path)
    assert split_held_out(samples, 0.1, seed=3) == (trained, held_out)


@pytest.mark.parametrize(("good", "share", "held_out"), [(59, 0.1, 6), (60, 0.1, 19), (64, 0.5, 32), (400, 0.1, 40)])
def test_where_there_are_enough_good_images_5_percent_can_be_promised(good: int, share: float, held_out: int) -> None:
    assert [len(part) for part in split_held_out(list(range(good)), share, seed=0)] == [good - held_out, held_out]


def test_abandoned_generator_leaves_a_stopped_run(small_config: TrainingConfig, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", small_config)
    for event in train(run):
        if event.status.epoch == 1:
            break
    gc.collect()
    assert run.status.state == "stopped" and not run.is_alive()
