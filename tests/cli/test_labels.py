"""The commands `labels ...`, from images to an export that comes back."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from altub.inference.model_files import read_config
from altub.labels.store import LabelStore
from altub.runs.run import Run


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALTUB_DB", str(tmp_path / "labels.db"))
    return tmp_path / "labels.db"


def test_from_labelled_images_to_thresholds_and_an_export(
    altub, data_folder: Path, trained_run: Run, tmp_path: Path, database: Path
) -> None:
    weave = data_folder / "weave"
    assert altub("labels", "add", weave / "test", "--source", "line").out.startswith("8 images added, 0 there already")
    assert altub("labels", "add", weave / "test").out.startswith("0 images added, 8 there already")
    assert "20 images" not in altub("labels", "import", weave, "--who", "ann").out
    assert "0 images and 0 labels added, 20" in altub("labels", "import", weave, "--format", "mvtec").out

    assert altub("labels", "score", "--model", trained_run.model_dir, "--device", "cpu").out == "20 images scored.\n"
    assert altub("labels", "score", "--model", trained_run.model_dir, "--device", "cpu").out == "0 images scored.\n"
    wishes = ("--recall", "0.95", "--false-alarm-rate", "0.4", "--cost-ratio", "5")
    ended = altub("labels", "stats", "--model", trained_run.model_dir, *wishes, "--json")
    values = json.loads(ended.out)
    assert (values["good"], values["defect"], values["unlabelled"], values["scored"]) == (16, 4, 0, 12)
    assert values["trained_on"] == 8, "of 12 good ones 4 are held out"
    assert values["defect_types"] == {"blot": 4} and values["people"] == {"ann": 20}
    assert "at least 45 are needed" in values["threshold_by_recall"]
    assert "at most 40 % of good images" in values["threshold_by_false_alarm_rate"]["promise"]
    assert "5 false alarms" in values["threshold_by_cost"]["promise"]
    model = shutil.copytree(trained_run.model_dir, tmp_path / "model")
    ended = altub("labels", "stats", "--model", model, "--cost-ratio", "5", "--use", "--json")
    assert json.loads(ended.out)["version"] == "2, in use"
    assert read_config(model).threshold["origin"]["target"] == "cost"
    altub("labels", "stats", "--model", model, "--recall", "0.95", "--use").assert_refused("at least 45 are needed")
    altub("labels", "stats", "--model", model, *wishes, "--use").assert_refused("one of --recall")
    assert "defect types       blot: 4" in altub("labels", "stats").out

    assert altub("labels", "export", "coco", tmp_path / "out").out.startswith("20 labelled images")
    ended = altub("labels", "export", "mvtec", tmp_path / "again", "--add-good", weave)
    assert "12 of the further good images are labelled" in ended.err and "--category again" in ended.out
    altub("labels", "export", "coco", tmp_path / "x", "--add-good", weave).assert_refused("of the format mvtec")
    altub("labels", "export", "mvtec", tmp_path / "x", "--add-good", "weave").assert_refused("names no category")
    altub("labels", "export", "mvtec", tmp_path / "x", "--learn", "0.5").assert_refused("give --add-good")
    assert altub("labels", "backup", tmp_path / "b.zip").out.startswith("20 images and 20 events")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert "labels.db" in archive.namelist()
    assert altub("labels", "check").out.startswith("0 problems in ")
    store = LabelStore(database)
    store.images.path(store.images.all()[0].sha256).unlink()
    ended = altub("labels", "check")
    assert ended.code == 2 and "missing" in ended.err and ended.out.startswith("1 problems in ")


def test_what_cannot_be_is_one_sentence(altub, tmp_path: Path) -> None:
    altub("labels", "export", "coco", tmp_path / "out").assert_refused("no labels to export")
    altub("labels", "import", tmp_path / "gone").assert_refused("not a folder")
    altub("labels", "stats", "--recall", "0.9").assert_refused("give --model")
    (tmp_path / "text.png").write_text("x")
    ended = altub("labels", "add", tmp_path / "text.png")
    assert ended.code == 2 and "Skipped: " in ended.err


def test_labelled_good_images_join_the_calibration(altub, data_folder: Path, trained_run: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run.model_dir, run / "model")
    shutil.copy(trained_run.path / "data.json", run)
    ask = ("labels", "calibrate", "--model", run / "model")
    altub("labels", "add", data_folder / "weave" / "test", "--source", "line")
    altub(*ask).assert_refused("No image is labelled good")
    altub("labels", "import", data_folder / "weave", "--who", "ann")
    altub(*ask).assert_refused("None of the 16 good labels has a score of this version")
    altub("labels", "score", "--model", run / "model", "--device", "cpu")

    wanted = json.loads(altub(*ask, "--dry-run", "--json").out)
    assert read_config(run / "model").version is None and "nothing was saved" in wanted["version"]
    ended = altub(*ask, "--json")
    values = json.loads(ended.out)
    # Of 16 good images 8 were trained on and 4 are held out.
    assert (values["held_out"], values["joined"], values["joined_before"], values["good_labels"]) == (4, 4, 0, 16)
    assert (values["smallest_p_value_before"], values["smallest_p_value"]) == (1 / 5, 1 / 9)
    assert "8 held-out good images" in values["promise"] and values["version"] == "2, in use"
    assert {**values, "version": ""} == {**wanted, "version": ""} and ended.err == ""
    shown = json.loads(altub("threshold", "--model", run / "model", "--json").out)
    assert shown["score"] == values["threshold"] and shown["promise"] == values["promise"]
    assert "calibration, " in altub("versions", run / "model").out
    altub(*ask).assert_refused("Nothing changes: the 4 good labels")
    altub(*ask, "--source", "nowhere").assert_refused("No image is labelled good")
    altub("versions", run / "model", "--restore", "1")
    (run / "data.json").unlink()
    ended = altub(*ask)
    assert "Note: trained on: not known" in ended.err and "joined                  16" in ended.out
