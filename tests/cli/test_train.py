"""The command `train`: settings, refusals, results, and going on with a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from altub.cli import train
from altub.runs.run import Run, Status
from altub.training.config import PRESETS, make_config
from tests.cli.conftest import METRICS, Ended


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
        ["epoch", "0/2"],
        ["epoch", "1/2"],
        ["epoch", "2/2"],
    ]
    run = Run.open(run_dir)
    assert run.status.state == "finished" and run.config.data == str(data_folder)

    evaluated = altub("evaluate", "--model", run_dir / "model", "--data", data_folder, "--category", "weave", "--json")
    assert evaluated.code == 0, evaluated.err
    found = json.loads(evaluated.out)
    verdicts = found.pop("verdicts")
    assert found == pytest.approx(result["last"], abs=1e-6)
    assert verdicts["defective"] == verdicts["good"] == 4

    # The same command again is refused and loses nothing; with --resume it tells the result again.
    before = (run_dir / "model/model.safetensors").read_bytes()
    altub("train", *weave, "--run-dir", run_dir).assert_refused("already holds a run")
    again = altub("train", "--run-dir", run_dir, "--resume", "--json")
    assert json.loads(again.out) == result and run.status.state == "finished"
    assert (run_dir / "model/model.safetensors").read_bytes() == before

    # Other settings are refused, more epochs are not.
    for options, words in (
        (("--set", "lr=0.0123"), "another lr:"),
        (("--set", "base.interval=97", "--set", "base.lr=0.123"), "another base.interval, base.lr:"),
        (("--image-size", "96", "--seed", "1"), "another image_size, seed:"),
        (("--preset", "fastflow-resnet18"), "another backbone"),
        (("--epochs", "1"), "trained 2 epochs, more than 1"),
    ):
        altub("train", "--run-dir", run_dir, "--resume", *options).assert_refused(words)
    same = ("--set", f"lr={run.config.lr}", "--set", f"base.interval={run.config.base.interval}")
    same += ("--category", "weave", "--data", data_folder, "--backbone", "auto")
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
    altub(*train, *weave, "--set", "stages=7").assert_refused("has the stages 1 to 3")
    altub(*train, "--resume", *weave, "--data", tmp_path / "none").assert_refused("does not exist")
    assert altub(*train, "--resume", *weave) == Ended(0, "", "")
    status = Run.open(run_dir).status
    assert (status.state, status.message) == ("finished", "")


@pytest.mark.parametrize(
    "options, words",
    [
        (("--set", "stages=3,1"), "stages"),
        (("--set", "stages=one"), "whole numbers with commas"),
        (("--preset", "best"), "There is no preset 'best'"),
        (("--base-update", "D"), "no base update 'D'.*author-tabular, public-fastflow, strict"),
        (("--set", "base.interval=0"), "interval"),
        (("--base-update", "adam"), "base update 'adam'.*gradient, moments, off"),
        (("--set", "base.base_update=adam"), "base_update"),
        (("--set", "base.intervall=3"), "no setting 'base.intervall'. Did you mean base.interval"),
        (("--set", "norm=layer"), "Did you mean flow.norm"),
        (("--set", "base=3"), "Name one setting of base: base.base_update"),
        (("--set", "epochs"), "key=value"),
        (("--base-update", "moments", "--set", "base.interval_unit=step"), "moments"),
        (("--image-size", "16"), "image_size"),
        (("--epochs", "0"), "epochs"),
        (("--device", "tpu"), "device"),
        (("--set", "precision=fp8"), "precision"),
        (("--set", "augment=shear"), "augment"),
        (("--data", ""), "No data source"),
        (("--set", "lr=nan"), "lr"),
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
    altub("train", "--run-dir", tmp_path / "r", "--resume").assert_refused("Name what to train: --category")
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
    monkeypatch.setattr(train, "_train", lambda run, *_: run.write_status(Status(state="finished")))
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
    pairs = ("--set", "base.interval=3", "--set", "base.interval_unit=step", "--set", "base.warmup=9")
    base = settings("--base-update", "gradient", *pairs).base
    assert (base.interval, base.interval_unit, base.warmup, base.joint) == (
        3,
        "step",
        9,
        make_config(category="c").base.joint,
    )
    assert settings("--base-update", "gradient", "--set", "base.joint=false").base.joint is False
    flow = settings("--set", "flow.norm=channel", "--set", "flow.kernels=3x3").flow
    assert (flow.norm, flow.kernels) == ("channel", "3x3")
    pairs = ("stages=1,3", "augment=hflip,rot90", "held_out=0.2", "evaluate_every=5")
    chosen = settings(*(word for pair in pairs for word in ("--set", pair)))
    assert (chosen.stages, chosen.augment, chosen.held_out, chosen.evaluate_every) == (
        (1, 3),
        ("hflip", "rot90"),
        0.2,
        5,
    )
    assert settings("--set", "flow.norm=none").flow.norm == "none"
    published = settings("--preset", "fastflow-resnet18", "--set", "lr=auto", "--set", "base.lr=auto")
    assert (published.lr, published.base.lr) == (None, None), "back to automatic, whatever the preset says"
    assert settings("--epochs", "7", "--set", "epochs=8").epochs == 8


@pytest.mark.parametrize(
    "variant, former, expected",
    [
        (
            "author-tabular",
            "A",
            {"interval_unit": "epoch", "interval": 5, "warmup": 20, "optimizer": "sgd", "lr": None, "clip": "value"},
        ),
        (
            "public-fastflow",
            "B",
            {"interval_unit": "step", "interval": 5, "warmup": 0, "optimizer": "adam", "lr": 0.05, "clip": "norm"},
        ),
        ("strict", "C", {"interval_unit": "epoch", "interval": 5, "joint": False, "optimizer": "adam", "lr": 0.05}),
    ],
)
def test_a_variant_is_all_of_its_schedule(
    altub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, former: str, expected: dict
) -> None:
    """Also on a preset with another one, and after a resume: author-tabular's rate follows the flow's."""
    run_dir = tmp_path / "r"
    monkeypatch.setattr(train, "_train", lambda run, *_: run.write_status(Status(state="finished")))
    command = ("train", "--run-dir", run_dir, "--quiet")
    assert altub(*command, "--preset", "fastflow-resnet18", "--category", "c", "--base-update", variant).code == 0
    assert altub(*command, "--resume", "--epochs", "900").code == 0
    base = Run.open(run_dir).config.base.model_dump()
    assert {key: base[key] for key in expected} == expected and Run.open(run_dir).config.epochs == 900
    assert altub(*command, "--resume", "--base-update", former).code == 0
    altub(*command, "--resume", "--base-update", "ABC".replace(former, "")[0]).assert_refused("another base")
    own = ("--category", "c", "--base-update", variant, "--set", "base.lr=0.2")
    own_rate = altub("train", "--run-dir", tmp_path / "q", *own)
    assert own_rate.code == 0 and Run.open(tmp_path / "q").config.base.lr == 0.2
