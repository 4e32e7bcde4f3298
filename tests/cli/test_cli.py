"""The command line: results on stdout, everything else on stderr, and exit codes that say how it ended."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.cli import app as cli
from altub.runs.run import Run, Status
from altub.training.config import PRESETS, make_config
from tests.conftest import REPOSITORY, SIDE

METRICS = {"image_auroc", "pixel_auroc", "aupro", "f1_max"}
TINY = ("--backbone", "filter-bank", "--image-size", str(SIDE), "--batch-size", "3", "--device", "cpu")


@dataclass
class Ended:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    def assert_refused(self, words: str) -> None:
        """Exit code 2 and one sentence or two on stderr: no traceback, nothing on stdout."""
        assert self.code == 2, self
        assert self.out == "" and "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line and not line.startswith("Note: ")]
        assert len(lines) == 1 and lines[0].startswith("Error: "), self.err
        assert re.search(words, lines[0]), lines[0]


@pytest.fixture
def altub(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """`python -m altub ...` within this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["altub", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def weave(data_folder: Path) -> tuple[object, ...]:
    """Options of a training that takes a moment."""
    return ("--data", data_folder, "--category", "weave", *TINY, "--epochs", "1")


# categories


def test_categories_are_one_name_a_line(altub, data_folder: Path) -> None:
    assert altub("categories", "--data", data_folder) == Ended(0, "weave\n", "")


def test_categories_have_counts_on_a_terminal(altub, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_on_terminal", lambda: True)
    out = altub("categories", "--data", data_folder).out
    assert re.match(r"weave +12 ", out) and "4" in out and out.count("\n") == 1


@pytest.mark.parametrize("content", [None, "empty", "text"])
def test_categories_of_nothing_are_refused(altub, tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "data"
    if content:
        folder.mkdir()
    if content == "text":
        (folder / "readme.txt").write_text("no images here")
    altub("categories", "--data", folder).assert_refused("is not there" if content is None else "No images were found")


# train


def test_train_evaluate_predict_from_end_to_end(altub, weave, data_folder: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "r"
    trained = altub("train", *weave, "--epochs", "2", "--run-dir", run_dir, "--json")
    assert trained.code == 0, trained.err
    assert trained.out.count("\n") == 1 and trained.out.endswith("\n"), "exactly one line"
    result = json.loads(trained.out)
    assert set(result) == {"last", "best", "epochs", "seconds", "run_dir"}
    assert set(result["last"]) >= METRICS and set(result["best"]) >= METRICS
    assert all(0 <= result["last"][name] <= 1 for name in METRICS)
    assert (result["epochs"], result["run_dir"]) == (2, str(run_dir)) and result["seconds"] > 0
    assert result["best"]["pixel_auroc"] >= result["last"]["pixel_auroc"] and result["best"]["epoch"] in (1, 2)
    assert [line.split()[:2] for line in trained.err.splitlines() if line.startswith("epoch")] == [
        ["epoch", "1/2"],
        ["epoch", "2/2"],
    ]
    run = Run.open(run_dir)
    assert run.status.state == "finished" and run.config.data == str(data_folder)

    evaluated = altub("evaluate", "--model", run_dir / "model", "--data", data_folder, "--category", "weave", "--json")
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluated.out) == pytest.approx(result["last"], abs=1e-6)

    # The same command again is refused and loses nothing; with --resume it tells the result again.
    before = (run_dir / "model/model.safetensors").read_bytes()
    altub("train", *weave, "--run-dir", run_dir).assert_refused("already holds a run")
    again = altub("train", "--run-dir", run_dir, "--resume", "--json")
    assert json.loads(again.out) == result and run.status.state == "finished"
    assert (run_dir / "model/model.safetensors").read_bytes() == before

    # Other settings are refused, more epochs are not.
    for options, words in (
        (("--lr", "0.0123"), "another --lr"),
        (("--interval", "97", "--base-lr", "0.123"), "another --base-lr, --interval"),
        (("--image-size", "96", "--seed", "1"), "another --image-size, --seed"),
        (("--preset", "fastflow-resnet18"), "another --backbone"),
        (("--epochs", "1"), "trained 2 epochs already, more than 1"),
    ):
        altub("train", "--run-dir", run_dir, "--resume", *options).assert_refused(words)
    same = ("--lr", run.config.lr, "--interval", run.config.base.interval, "--category", "weave", "--data", data_folder)
    same += ("--backbone", "auto")
    assert altub("train", "--run-dir", run_dir, "--resume", *same, "--quiet") == Ended(0, "", "")
    assert run.config.epochs == 2 and run.status.epoch == 2
    longer = altub("train", "--run-dir", run_dir, "--resume", "--epochs", "3", "--json")
    assert json.loads(longer.out)["epochs"] == 3 and [event.epoch for event in run.events()] == [1, 2, 3]


def test_without_json_the_best_epoch_is_called_what_it_is(altub, weave, tmp_path: Path) -> None:
    ended = altub("train", *weave, "--run-dir", tmp_path / "r")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].startswith("last epoch (1): image AUROC ")
    assert lines[1].startswith("best, chosen on the test set (epoch 1): ") and str(tmp_path / "r" / "model") in lines[2]


def test_a_quiet_training_says_nothing(altub, weave, tmp_path: Path) -> None:
    assert altub("train", *weave, "--run-dir", tmp_path / "r", "--quiet") == Ended(0, "", "")


def test_good_images_alone_have_no_metrics(altub, weave, data_folder: Path, tmp_path: Path) -> None:
    data = ("--data", data_folder / "weave/train/good", "--category", "good")
    ended = altub("train", *data, *weave[4:], "--run-dir", tmp_path / "r", "--json")
    assert ended.code == 0, ended.err
    assert {json.loads(ended.out)["last"][name] for name in METRICS} == {None}
    evaluated = altub("evaluate", "--model", tmp_path / "r/model", *data)
    evaluated.assert_refused("no test images")


def test_a_failed_try_does_not_block_the_directory(altub, weave, tmp_path: Path, data_folder: Path) -> None:
    run_dir = tmp_path / "r"
    train = ("train", "--run-dir", run_dir, "--quiet")
    altub(*train, *weave, "--category", "wave").assert_refused("There is no category 'wave'.* There is: weave")
    assert not run_dir.exists()
    altub(*train, *weave, "--backbone", "resnet19").assert_refused("no backbone 'resnet19'.*Did you mean")
    assert Run.open(run_dir).status.state == "failed"
    altub(*train, *weave, "--stages", "7").assert_refused("has the stages 1 to 3")
    altub(*train, "--resume", *weave, "--data", tmp_path / "none").assert_refused("is not there")
    assert altub(*train, "--resume", *weave) == Ended(0, "", "")
    status = Run.open(run_dir).status
    assert (status.state, status.message) == ("finished", "")


@pytest.mark.parametrize(
    "options, words",
    [
        (("--stages", "3,1"), "stages"),
        (("--stages", "one"), "whole numbers with commas"),
        (("--preset", "best"), "There is no preset 'best'"),
        (("--reading", "D"), "no reading 'D'.*A, B, C"),
        (("--interval", "0"), "interval"),
        (("--base-update", "adam"), "base_update"),
        (("--base-update", "moments", "--interval-unit", "step"), "moments"),
        (("--image-size", "16"), "image_size"),
        (("--epochs", "0"), "epochs"),
        (("--device", "tpu"), "device"),
        (("--precision", "fp8"), "precision"),
        (("--augment", "shear"), "augment"),
        (("--data", ""), "No data source"),
        (("--lr", "nan"), "lr"),
    ],
)
def test_settings_that_cannot_be_are_refused(altub, weave, tmp_path: Path, options: tuple, words: str) -> None:
    run_dir = tmp_path / "r"
    altub("train", *weave, *options, "--run-dir", run_dir).assert_refused(words)
    assert not (run_dir / "checkpoint").exists()


def test_places_where_no_run_can_be_are_refused(altub, weave, tmp_path: Path, trained_run: Run) -> None:
    (tmp_path / "file").write_text("precious")
    altub("train", *weave, "--run-dir", tmp_path / "file").assert_refused("Choose another directory")
    altub("train", *weave, "--run-dir", tmp_path / "file" / "r").assert_refused("Choose another directory")
    assert (tmp_path / "file").read_text() == "precious"
    config = (trained_run.model_dir / "config.json").read_bytes()
    altub("train", *weave, "--run-dir", trained_run.model_dir).assert_refused("not a run's")
    assert (trained_run.model_dir / "config.json").read_bytes() == config
    altub("train", "--run-dir", tmp_path / "r", "--resume").assert_refused("Say what to train: --category")
    assert not (tmp_path / "r").exists()


def test_a_second_start_of_a_running_training_is_refused(altub, weave, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", make_config(category="weave"))
    run.write_status(Status(state="running", pid=1))
    with run.lock():
        altub("train", *weave, "--run-dir", run.path).assert_refused("being trained right now")
        altub("train", "--run-dir", run.path, "--resume").assert_refused("already being trained")
        altub("train", "--run-dir", run.path, "--resume", "--epochs", "99").assert_refused("trained right now")
    assert run.config.epochs != 99 and run.read_status().state == "running"


def test_options_become_settings(altub, tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_train", lambda run, *_: run.write_status(Status(state="finished")))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "c").symlink_to(data_folder / "weave")

    def settings(*options: str):
        ended = altub("train", "--category", "c", "--run-dir", "r", *options, "--quiet")
        assert ended.code == 0, ended.err
        return Run.open("r").config

    assert settings() == make_config(category="c")
    assert settings("--data", "pictures").data == str(tmp_path / "pictures"), "a resume may come from elsewhere"
    for name, preset in PRESETS.items():
        assert settings("--preset", name) == make_config(name, category="c"), preset.title
    assert settings("--preset", "fastflow-wrn50", "--epochs", "7").epochs == 7
    base = settings("--base-update", "gradient", "--interval", "3", "--interval-unit", "step", "--warmup", "9").base
    assert (base.interval, base.interval_unit, base.warmup, base.joint) == (
        3,
        "step",
        9,
        make_config(category="c").base.joint,
    )
    assert settings("--base-update", "gradient", "--strict").base.joint is False
    flow = settings("--norm", "channel", "--kernels", "3x3").flow
    assert (flow.norm, flow.kernels) == ("channel", "3x3")
    chosen = settings("--stages", "1,3", "--augment", "hflip,rot90", "--held-out", "0.2", "--evaluate-every", "5")
    assert (chosen.stages, chosen.augment, chosen.held_out, chosen.evaluate_every) == (
        (1, 3),
        ("hflip", "rot90"),
        0.2,
        5,
    )


@pytest.mark.parametrize(
    "reading, expected",
    [
        ("A", {"interval_unit": "epoch", "interval": 5, "warmup": 20, "optimizer": "sgd", "lr": None, "clip": "value"}),
        ("B", {"interval_unit": "step", "interval": 5, "warmup": 0, "optimizer": "adam", "lr": 0.05, "clip": "norm"}),
        ("C", {"interval_unit": "epoch", "interval": 5, "joint": False, "optimizer": "adam", "lr": 0.05}),
    ],
)
def test_a_reading_is_all_of_its_schedule(
    altub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: str, expected: dict
) -> None:
    """Also on a preset with another one, and after a resume: reading A's rate is five times the flow's, not 0.05."""
    run_dir = tmp_path / "r"
    monkeypatch.setattr(cli, "_train", lambda run, *_: run.write_status(Status(state="finished")))
    command = ("train", "--run-dir", run_dir, "--quiet")
    assert altub(*command, "--preset", "fastflow-resnet18", "--category", "c", "--reading", reading).code == 0
    assert altub(*command, "--resume", "--epochs", "900").code == 0
    base = Run.open(run_dir).config.base.model_dump()
    assert {key: base[key] for key in expected} == expected and Run.open(run_dir).config.epochs == 900
    assert altub(*command, "--resume", "--reading", reading).code == 0
    altub(*command, "--resume", "--reading", "ABC".replace(reading, "")[0]).assert_refused("another --")
    own_rate = altub("train", "--run-dir", tmp_path / "q", "--category", "c", "--reading", reading, "--base-lr", "0.2")
    assert own_rate.code == 0 and Run.open(tmp_path / "q").config.base.lr == 0.2


# Stopping.


def test_ctrl_c_keeps_what_was_trained(altub, weave, tmp_path: Path) -> None:
    run_dir = tmp_path / "r"
    process = subprocess.Popen(
        [sys.executable, "-m", "altub", "train", *map(str, weave), "--epochs", "100000", "--run-dir", str(run_dir)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = Run(run_dir)
    began = time.monotonic()
    try:
        while not run.checkpoint_file.exists():
            assert process.poll() is None and time.monotonic() - began < 180
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=180)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and out == "" and "Traceback" not in err, err
    assert err.splitlines()[-1] == (
        f"{run.status.message} Go on with: python -m altub train --run-dir {run_dir} --resume"
    )
    status = run.status
    assert status.state == "stopped" and status.epoch >= 1
    resumed = altub("train", "--run-dir", run_dir, "--resume", "--epochs", status.epoch + 1, "--json")
    assert json.loads(resumed.out)["epochs"] == status.epoch + 1
    assert [event.epoch for event in run.events()] == list(range(1, status.epoch + 2))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_a_training_and_are_left_as_they_were(altub, weave, tmp_path: Path, number: int) -> None:
    run, slipped = Run(tmp_path / "my run"), []
    before = signal.signal(number, lambda *_: slipped.append(number))

    def kill_once_it_trains() -> None:
        while not run.events():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    killer = threading.Thread(target=kill_once_it_trains, daemon=True)
    killer.start()
    try:
        ended = altub("train", *weave, "--epochs", "100000", "--run-dir", run.path, "--json")
        killer.join()
        assert signal.getsignal(number) is not before
        os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
    assert ended.code == 130 and ended.out == "" and slipped == [number], "the second one went to the earlier handler"
    assert ended.err.splitlines()[-1].endswith(f"--run-dir '{run.path}' --resume")
    assert run.status.state == "stopped" and run.checkpoint_file.exists() and run.status.epoch >= 1


def test_a_second_signal_ends_it_at_once() -> None:
    with cli._StopOnSignal() as stopping:
        assert not stopping.asked()
        signal.raise_signal(signal.SIGTERM)
        assert stopping.asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_a_job_that_was_stopped_before_it_got_going_does_not_train(altub, small_config, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", small_config)
    run.request_stop()
    ended = altub("train", "--run-dir", run.path, "--resume", "--queue", "--quiet")
    assert ended.code == 130 and run.status.state == "stopped" and run.events() == [] and not run.stop_requested()
    run.request_stop()  # left by a process that was killed: whoever starts the training by hand wants it to train
    assert altub("train", "--run-dir", run.path, "--resume", "--quiet").code == 0
    assert run.status.state == "finished"


def test_stop_asks_a_training_and_nothing_else(altub, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", make_config(category="weave"))
    run.write_status(Status(state="running", pid=1))
    with run.lock():
        ended = altub("stop", run.path)
    assert ended.code == 0 and ended.out == "" and "--resume" in ended.err and run.stop_requested()
    altub("stop", run.path).assert_refused("not being trained: it is interrupted")
    altub("stop", tmp_path).assert_refused("holds no run")


# evaluate, predict, runs


@pytest.mark.parametrize("model", ["nothing", ".", "config.json"])
def test_what_is_no_model_is_refused(altub, trained_run: Run, data_folder: Path, tmp_path: Path, model: str) -> None:
    path = trained_run.path / model
    picture = data_folder / "weave/test/good/000.png"
    data = ("--data", data_folder, "--category", "weave")
    altub("evaluate", "--model", path, *data).assert_refused("no model|missing|does not describe")
    altub("predict", picture, "--model", path, "--output", tmp_path / "o").assert_refused(
        "no model|missing|does not describe"
    )
    assert not (tmp_path / "o").exists()


def test_evaluate_prints_a_line_for_each_metric(altub, trained_run: Run, data_folder: Path) -> None:
    ended = altub("evaluate", "--model", trained_run.model_dir, "--data", data_folder, "--category", "weave")
    last = trained_run.last_and_best()[0].test.as_dict()
    shown = dict(line.split() for line in ended.out.splitlines())
    assert set(shown) >= METRICS and all(float(shown[name]) == pytest.approx(last[name], abs=1e-4) for name in METRICS)
    altub("evaluate", "--model", trained_run.model_dir, "--data", data_folder, "--category", "x").assert_refused(
        "There is no category 'x'"
    )
    altub(
        "evaluate", "--model", trained_run.model_dir, "--data", data_folder, "--category", "weave", "--device", "tpu"
    ).assert_refused("There is no device 'tpu'")


@pytest.fixture
def pictures(data_folder: Path, tmp_path: Path) -> Path:
    """A folder with pictures of several kinds and one that is none."""
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    good = Image.open(data_folder / "weave/test/good/000.png")
    bad = Image.open(data_folder / "weave/test/blot/000.png")
    good.resize((90, 41)).save(folder / "a.png")
    bad.convert("RGBA").save(folder / "b.png")
    bad.convert("L").save(folder / "deeper" / "a.tif")
    (folder / "c.jpg").write_bytes(b"\xff\xd8 cut off")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def test_predict_writes_everything_and_reports_what_is_no_image(
    altub, trained_run: Run, pictures: Path, tmp_path: Path
) -> None:
    output = pictures / "out"
    ended = altub(
        "predict", pictures, "--model", trained_run.model_dir, "--output", output, "--false-alarm-rate", "0.3"
    )
    assert ended.code == 0, ended.err
    assert re.fullmatch(r"3 images, \d defective: .*predictions\.csv\n", ended.out)
    assert [line for line in ended.err.splitlines() if "c.jpg" in line] and "Traceback" not in ended.err
    with (output / "predictions.csv").open(newline="") as file:
        rows = {Path(row["image"]).relative_to(pictures).as_posix(): row for row in csv.DictReader(file)}
    assert set(rows) == {"a.png", "b.png", "c.jpg", "deeper/a.tif"}
    failed = rows.pop("c.jpg")
    assert failed["error"] and not failed["score"] and not failed["is_anomalous"]
    for name, row in rows.items():
        width, height = Image.open(pictures / name).size
        assert Image.open(output / row["overlay"]).size == (width, height)
        anomaly_map = np.asarray(Image.open(output / row["map"]))
        mask = np.asarray(Image.open(output / row["mask"]))
        assert anomaly_map.shape == mask.shape == (height, width) and set(np.unique(mask)) <= {0, 255}
        np.testing.assert_array_equal(mask > 0, anomaly_map > float(row["pixel_threshold"]))
        assert row["is_anomalous"] == ("true" if float(row["score"]) > float(row["threshold"]) else "false")
        assert 0 < float(row["p_value"]) <= 1 and row["error"] == ""
    assert len({row["map"] for row in rows.values()}) == 3, "two of one name do not overwrite each other"

    # Once more into the same folder: the results are not taken for images, and --json says the same.
    again = altub(
        "predict", pictures, "--model", trained_run.model_dir, "--output", output, "--json",
        "--false-alarm-rate", "0.3",
    )  # fmt: skip
    shown = [json.loads(line) for line in again.out.splitlines()]
    assert len(shown) == 4
    for row in shown:
        name = Path(row["image"]).relative_to(pictures).as_posix()
        assert name == "c.jpg" or row["score"] == float(rows[name]["score"])


def test_predict_says_where_a_threshold_cannot_keep_its_promise(
    altub, trained_run: Run, pictures: Path, tmp_path: Path
) -> None:
    """Four held-out images promise 20 % at best."""
    options = ("--model", trained_run.model_dir, "--output", tmp_path / "o")
    ended = altub("predict", pictures / "a.png", *options, "--false-alarm-rate", "0.01")
    assert ended.code == 0 and "no threshold can promise" in ended.err
    assert "Note" not in altub("predict", pictures / "a.png", *options, "--false-alarm-rate", "0.2").err


@pytest.mark.parametrize(
    "options, words",
    [
        (("{pictures}/none.png",), "is not there"),
        (("{pictures}/empty",), "There is no image in"),
        (("{pictures}/a.png", "--false-alarm-rate", "2"), "between 0 and 1"),
        (("{pictures}/a.png", "--device", "cuda:99"), "GPU|device"),
        (("{pictures}/a.png", "--output", "{pictures}/notes.txt"), "is a file, not a folder"),
        (("{pictures}/a.png", "--output", "{pictures}/notes.txt/deeper"), "not a folder"),
    ],
)
def test_predictions_that_cannot_be_are_refused(
    altub, trained_run: Run, pictures: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    (pictures / "empty").mkdir()
    given = [option.format(pictures=pictures) for option in options]
    ended = altub("predict", "--model", trained_run.model_dir, "--output", tmp_path / "o", *given)
    ended.assert_refused(words)
    assert (pictures / "notes.txt").read_text() == "not looked at" and not (tmp_path / "o").exists()


def test_predicting_nothing_but_rubbish_is_bad_input(altub, trained_run: Run, pictures: Path, tmp_path: Path) -> None:
    ended = altub("predict", pictures / "c.jpg", "--model", trained_run.model_dir, "--output", tmp_path / "o")
    assert ended.code == 2 and "c.jpg" in ended.err and "Traceback" not in ended.err


def test_runs_are_listed(altub, trained_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALTUB_RUNS", str(trained_run.path.parent))
    shown = altub("runs").out
    assert re.match(r"weave-run +finished +epoch 4/4 +pixel AUROC 0\.\d{4}\n", shown)
    (row,) = map(json.loads, altub("runs", "--json").out.splitlines())
    assert (row["run"], row["state"], row["epoch"]) == ("weave-run", "finished", 4) and set(row["last"]) >= METRICS
    monkeypatch.setenv("ALTUB_RUNS", str(tmp_path / "none"))
    ended = altub("runs")
    assert (ended.code, ended.out) == (0, "") and str(tmp_path / "none") in ended.err, "says where it looked"


# typer's own


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("train", "--category", "c"), "--run-dir"),
        (("train", "--run-dir", "r", "--epochs", "many"), "--epochs"),
        (("train", "--run-dir", "r", "--nonsense"), "--nonsense"),
        (("fly",), "fly"),
        (("evaluate", "--model", "m"), "--category"),
        (("predict", "--model", "m", "--output", "o"), "images"),
    ],
)
def test_wrong_usage_is_bad_input(altub, arguments: tuple[str, ...], words: str) -> None:
    ended = altub(*arguments)
    assert ended.code == 2 and ended.out == "" and words in ended.err and "Traceback" not in ended.err


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "categories", "download", "runs", "stop", "bench"])
def test_every_command_explains_itself(altub, command: str) -> None:
    ended = altub(command, "--help")
    assert ended.code == 0 and f"altub {command}" in ended.out and ended.err == ""


def test_defaults_shown_in_the_help_are_those_of_the_settings(altub) -> None:
    defaults = make_config(category="c").model_dump()
    shown = {}
    for line in altub("train", "--help").out.splitlines():
        if found := re.search(r"--([a-z-]+) .*\[default: ([^\]]+)\]", line):
            shown[found[1].replace("-", "_")] = found[2].strip("()")
    assert {"image_size", "batch_size", "seed", "held_out"} <= shown.keys()
    defaults |= defaults["flow"] | defaults["base"]
    assert shown == {name: str(defaults[{"flow": "kind"}.get(name, name)]) for name in shown}


def test_an_interrupt_elsewhere_is_130(altub, monkeypatch: pytest.MonkeyPatch, data_folder: Path) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("altub.data.list_categories", interrupt)
    ended = altub("categories", "--data", data_folder)
    assert ended.code == 130 and "Traceback" not in ended.err


# study


def test_a_study_from_the_command_line(
    altub: Callable[..., Ended], data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    grid = ("--data", data_folder, "--categories", "weave", "--base-updates", "off,moments:interval=2", "--seeds", "0")
    settings = {"backbone": "filter-bank", "image_size": SIDE, "epochs": 2, "batch_size": 6, "flow.steps": 2}
    small = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    trained = altub("study", "--study-dir", tmp_path, *grid, *small, "--json")
    assert trained.code == 0, trained
    study = json.loads(trained.out)
    assert [run["run"] for run in study["runs"]] == [
        f"weave-fastflow-{update}-seed0" for update in ("off", "moments-interval-2")
    ]
    assert METRICS & set(study["summary"][0]["metrics"])

    reported = altub("study", "--study-dir", tmp_path, "--report")
    assert reported.code == 0 and "Last epoch, mean" in reported.out
    tables = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert {"results.csv", "summary.csv", "results.json", "figure-weave-fastflow-pixel_auroc.png"} <= tables


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--categories"),
        (("--categories", "sponge", "--seeds", "1.5"), "whole numbers"),
        (("--categories", "sponge", "--set", "epochs"), "epochs"),
        (("--report",), "no runs"),
    ],
)
def test_a_study_that_cannot_start(
    altub: Callable[..., Ended], tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    altub("study", "--study-dir", tmp_path, *options).assert_refused(words)
    assert list(tmp_path.iterdir()) == []
