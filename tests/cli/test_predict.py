"""The commands `predict` and `evaluate`."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.inference.detector import AnomalyDetector
from altub.metrics import METRICS as LABELS
from altub.runs.run import Run
from tests.cli.conftest import METRICS


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
    lines = ended.out.splitlines()
    shown = dict(line.rsplit(maxsplit=1) for line in lines[: len(last)])
    for name in METRICS:
        assert float(shown[LABELS[name].label]) == pytest.approx(last[name], abs=1e-4)
    assert shown["AUPIMO"] == "-" and "pixel F1-max" in shown, "four good images of 64 x 64 are too few for 1e-5"
    detector = AnomalyDetector.load(trained_run.model_dir, "cpu")
    test = sorted((data_folder / "weave/test").glob("*/*.png"))
    scores = {f"{path.parent.name}/{path.name}": detector.predict(path).score for path in test}
    wrong = {name for name, score in scores.items() if (score > detector.threshold.value) != name.startswith("blot")}
    assert "On the test set: 4 defective images" in lines[len(last)]
    assert wrong == {name.strip() for line in lines[len(last) + 1 :] for name in line.split(":")[1].split(",")}
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
    first, second, *ranked, last = ended.out.splitlines()
    assert re.fullmatch(r"3 images: \d [\w ,]+", first) and re.fullmatch(r"Table: .*predictions\.csv", last)
    assert re.match(r"Threshold \d\.\d{3}\. At most 20 % of good images", second)
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
        np.testing.assert_array_equal(mask > 0, anomaly_map > float(row["marked_above"]))
        is_lowered = row["is_anomalous"] == "true" and anomaly_map.max() <= float(row["pixel_threshold"])
        assert is_lowered == (row["marked_above"] != row["pixel_threshold"])
        assert mask.any() or row["is_anomalous"] == "false"
        assert row["is_anomalous"] == ("true" if float(row["score"]) > float(row["threshold"]) else "false")
        assert 0 < float(row["p_value"]) <= 1 and row["error"] == ""
    calibration = AnomalyDetector.load(trained_run.model_dir, "cpu").calibration
    by_score = sorted(rows.values(), key=lambda row: -float(row["score"]))
    for row, line in zip(by_score, ranked, strict=True):
        assert float(row["anomaly_score"]) == calibration.anomaly_score(float(row["score"]))
        assert line.split()[0] == f"{float(row['anomaly_score']):.3f}" and line.endswith(row["image"])
        assert row["verdict"] in line
        assert row["anomaly_threshold"] == repr(calibration.anomaly_score(float(row["threshold"])))
        assert float(row["anomaly_pixel_threshold"]) == calibration.pixel_unit.of(float(row["pixel_threshold"]))
    assert len({row["map"] for row in rows.values()}) == 3, "two of one name do not overwrite each other"

    # Once more into the same folder: the results are not taken for images, and --json says the same.
    again = altub(
        "predict", pictures, "--model", trained_run.model_dir, "--output", output, "--json",
        "--false-alarm-rate", "0.3",
    )  # fmt: skip
    shown = [json.loads(line) for line in again.out.splitlines()]
    assert not (output / "report.html").exists()
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
    chosen = ("--overlays", "webp", "--maps", "png", "--no-masks", "--report")
    quiet = altub("predict", pictures / "a.png", *options, "--false-alarm-rate", "0.2", *chosen)
    assert quiet.code == 0 and "Note" not in quiet.err
    assert {path.name for path in (tmp_path / "o").rglob("*")} >= {"a.webp", "a.png", "report.html", "predictions.csv"}


@pytest.mark.parametrize(
    "options, words",
    [
        (("{pictures}/none.png",), "does not exist"),
        (("{pictures}/empty",), "There is no image in"),
        (("{pictures}/a.png", "--false-alarm-rate", "2"), "between 0 and 1"),
        (("{pictures}/a.png", "--device", "cuda:99"), "GPU|device"),
        (("{pictures}/a.png", "--maps", "gif"), "cannot be written as 'gif'"),
        (("{pictures}/a.png", "--on", "mars"), "cannot be predicted on 'mars'"),
        (("{pictures}/a.png", "--workers", "2"), "--workers goes with --on ray"),
        (("{pictures}/a.png", "--decode", "half"), "not decoded 'half'"),
        (("{pictures}/a.png", "--decode", "reduced"), "leaves no image to draw on"),
        (("{pictures}/a.png", "--decode", "reduced", "--overlays", "none", "--report"), "leaves no image to draw on"),
        (("{pictures}/a.png", "--on", "ray", "--report"), "one process only"),
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


def test_ray_that_is_not_installed_is_one_sentence(
    altub, trained_run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    ended = altub("predict", pictures, "--model", trained_run.model_dir, "--output", tmp_path / "o", "--on", "ray")
    ended.assert_refused(r'needs Ray, which is not installed. Install it with: pip install "altub\[ray\]"')


def test_predicting_nothing_but_rubbish_is_bad_input(altub, trained_run: Run, pictures: Path, tmp_path: Path) -> None:
    ended = altub("predict", pictures / "c.jpg", "--model", trained_run.model_dir, "--output", tmp_path / "o")
    assert ended.code == 2 and "c.jpg" in ended.err and "Traceback" not in ended.err


def test_a_threshold_of_its_own_is_used_listed_and_taken_back(
    altub, trained_run: Run, data_folder: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(trained_run.model_dir, tmp_path / "model")
    picture = data_folder / "weave/test/blot/000.png"

    def verdict(*more: object) -> str:
        ended = altub("predict", picture, "--model", model, "--output", tmp_path / "out", "--json", *more)
        return json.loads(ended.out)["is_anomalous"]

    assert altub("versions", model).out.startswith("One version, as trained")
    assert "origin       held-out" in altub("threshold", "--model", model).out
    usual = verdict()
    altub("threshold", "--model", model, "--score", 1e6, "--note", "nothing is a defect")
    assert not verdict() and verdict("--false-alarm-rate", "0.05") == usual
    lines = altub("versions", model).out.splitlines()
    assert lines[0].startswith("    1") and "As trained." in lines[0]
    assert lines[1].startswith("*   2") and lines[1].endswith("threshold: nothing is a defect")
    assert altub("versions", model, "--restore", 1).out.startswith("*   1") and verdict() == usual
    values = json.loads(altub("threshold", "--model", model, "--false-alarm-rate", "0.4", "--json").out)
    assert values["origin"] == "held-out" and "40 %" in values["promise"]
    assert json.loads(altub("versions", model, "--remove", 2, "--json").out)["in_use"] == 3
    altub("threshold", "--model", model, "--reset")
    assert "5 %" in (altub("threshold", "--model", model).out) and verdict() == usual
    altub("threshold", "--model", model, "--reset", "--score", 1).assert_refused("one of --score")
    altub("threshold", "--model", model, "--pixel-value", 1).assert_refused("goes with --score")
    altub("versions", model, "--remove", 4).assert_refused("is in use")
    altub("versions", model, "--remove", 1, "--restore", 1).assert_refused("not both")
