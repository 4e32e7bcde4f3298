"""Versions of a saved model: nothing that was in use is lost, whatever ends the process."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from altub.errors import ConfigError, ModelError
from altub.inference import versions
from altub.inference.detector import AnomalyDetector
from altub.inference.model_cache import ModelCache
from altub.inference.model_files import CONFIG_FILE, WEIGHTS_FILE, read_config
from altub.inference.storage import read_calibration
from altub.inference.threshold import Labels, Threshold
from altub.inference.versions import (
    VERSIONS_FOLDER,
    is_adapted,
    list_versions,
    remove_version,
    restore_version,
    save_calibration,
    save_threshold,
    save_version,
)

THRESHOLD = Threshold(1.5, 0.75, Labels(30, 10, "recall", 0.9, 0.95))


def in_use(folder: Path) -> Threshold:
    return AnomalyDetector.load(folder, "cpu").threshold


def test_a_threshold_is_the_models_own_until_it_is_taken_back(model_dir: Path) -> None:
    before = in_use(model_dir)
    assert list_versions(model_dir) == [] and before.origin.kind == "held-out"
    made = save_threshold(model_dir, THRESHOLD, "recall of 0.9", author="ann")
    assert in_use(model_dir) == THRESHOLD
    first, second = list_versions(model_dir)
    assert (first.number, first.kind) == (1, "trained")
    assert (second, second.number, second.author, second.note) == (made, 2, "ann", "recall of 0.9")
    save_threshold(model_dir, None, "back")
    assert in_use(model_dir) == before
    assert restore_version(model_dir, 2) == second and in_use(model_dir) == THRESHOLD
    assert read_config(model_dir).version == second and len(list_versions(model_dir)) == 3


def test_equal_weights_take_room_once(model_dir: Path) -> None:
    for number in range(3):
        save_threshold(model_dir, Threshold.fixed(number, 0), "by hand")
    files = [model_dir / VERSIONS_FOLDER / f"{number:04d}" / WEIGHTS_FILE for number in (1, 2, 3, 4)]
    assert len({path.stat().st_ino for path in files}) == 1


def test_without_links_the_weights_are_copied(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    save_threshold(model_dir, THRESHOLD, "copied")
    restore_version(model_dir, 1)
    AnomalyDetector.load(model_dir, "cpu")
    AnomalyDetector.load(model_dir / VERSIONS_FOLDER / "0002", "cpu")


def test_a_changed_detector_is_a_version(model_dir: Path, pictures: list[Path]) -> None:
    detector = AnomalyDetector.load(model_dir, "cpu")
    before = detector.predict(pictures[0]).score
    with_base = [name for name, _ in detector.pyramid.named_parameters() if name.endswith("mean")]
    assert with_base
    for name, parameter in detector.pyramid.named_parameters():
        if name in with_base:
            parameter.add_(1.0)
    changed = detector.predict(pictures[0]).score
    assert changed != before
    save_version(model_dir, detector, "moved the base", kind="adapted")
    assert AnomalyDetector.load(model_dir, "cpu").predict(pictures[0]).score == changed
    restore_version(model_dir, 1)
    assert AnomalyDetector.load(model_dir, "cpu").predict(pictures[0]).score == before


def test_what_a_training_wrote_since_is_kept_as_well(model_dir: Path) -> None:
    save_threshold(model_dir, THRESHOLD, "first")
    AnomalyDetector.load(model_dir, "cpu").save(model_dir)  # as a resumed training does: no version any more
    assert read_config(model_dir).version is None
    save_threshold(model_dir, None, "second")
    assert [version.kind for version in list_versions(model_dir)] == ["trained", "threshold", "trained", "threshold"]


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6])
def test_a_process_killed_on_the_way_leaves_a_whole_model(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """`step`: before which renaming the process ends; the last one that happens is the sixth."""
    before, real, seen = in_use(model_dir), os.replace, 0

    class Killed(BaseException):
        pass

    def replace(*places: object) -> None:
        nonlocal seen
        seen += 1
        if seen == step:
            raise Killed
        real(*places)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Killed):
        save_threshold(model_dir, THRESHOLD, "killed")
    monkeypatch.undo()
    assert in_use(model_dir) in (before, THRESHOLD)
    save_threshold(model_dir, THRESHOLD, "again")
    assert in_use(model_dir) == THRESHOLD
    restore_version(model_dir, 1)
    assert in_use(model_dir) == before
    left = {entry.name for entry in (model_dir / VERSIONS_FOLDER).iterdir() if not entry.name.isdecimal()}
    assert left <= {".lock", ".partial-0001", ".partial-0002"}


def test_versions_are_removed_but_not_the_one_in_use(model_dir: Path) -> None:
    save_threshold(model_dir, THRESHOLD, "")
    with pytest.raises(ConfigError, match="Version 2 is in use: restore another"):
        remove_version(model_dir, 2)
    remove_version(model_dir, 1)
    assert [version.number for version in list_versions(model_dir)] == [2] and in_use(model_dir) == THRESHOLD
    with pytest.raises(ModelError, match=r"no version 1 of .*Its versions: 2"):
        restore_version(model_dir, 1)
    with pytest.raises(ModelError, match="no version 7"):
        remove_version(model_dir, 7)


def test_two_at_a_time_lose_nothing(model_dir: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        notes = list(pool.map(lambda index: save_threshold(model_dir, None, str(index)).note, range(8)))
    found = list_versions(model_dir)
    assert [version.number for version in found] == list(range(1, 10))
    assert sorted(version.note for version in found[1:]) == sorted(notes)


def test_a_change_that_does_not_end_is_named(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "LOCK_PATIENCE", 0.0)
    with versions._locked(model_dir), pytest.raises(ModelError, match="being changed by another program"):
        save_threshold(model_dir, None, "")


def test_where_there_is_no_model_no_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model"):
        save_threshold(tmp_path, None, "")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_version_is_left_out_and_refused(model_dir: Path) -> None:
    save_threshold(model_dir, THRESHOLD, "")
    (model_dir / VERSIONS_FOLDER / "0001" / CONFIG_FILE).write_text("{")
    assert [version.number for version in list_versions(model_dir)] == [2]
    with pytest.raises(ModelError):
        restore_version(model_dir, 1)
    assert in_use(model_dir) == THRESHOLD


@pytest.mark.parametrize(
    "origin", [{"kind": "labels"}, {"kind": "held-out", "n": "<b>", "requested_rate": 0.1, "promised_rate": 0.1}, {}]
)
def test_a_damaged_threshold_is_named(model_dir: Path, origin: dict[str, object]) -> None:
    config = json.loads((model_dir / CONFIG_FILE).read_text())
    config["threshold"] = {"value": 1.0, "pixel_value": 1.0, "origin": origin}
    (model_dir / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="threshold of this model is incomplete or damaged"):
        AnomalyDetector.load(model_dir, "cpu")


def test_a_loaded_model_takes_the_new_threshold_without_loading_again(model_dir: Path) -> None:
    models = ModelCache(device="cpu")
    before = models.get(model_dir).detector
    old = before.threshold
    save_threshold(model_dir, THRESHOLD, "")
    after = models.get(model_dir).detector
    assert after.threshold == THRESHOLD and before.threshold == old and after.pyramid is before.pyramid
    assert models.get(model_dir).detector is after


def joined(folder: Path, scores: list[float]) -> str:
    """Lets images with these scores join the calibration; the SHA-256 of the weights."""
    calibration, own, sha256 = read_calibration(folder)
    extended = calibration.extended_by(np.array(scores), np.array(scores))
    save_calibration(folder, extended, own, f"{len(scores)} joined", weights_sha256=sha256, author="ann")
    return sha256


def test_images_join_the_calibration_as_a_version_of_the_same_weights(model_dir: Path, tmp_path: Path) -> None:
    models = ModelCache(device="cpu")
    before = models.get(model_dir).detector
    n, weights = before.calibration.scores.size, (model_dir / WEIGHTS_FILE).read_bytes()
    sha256 = joined(model_dir, [90.0, 91.0])
    assert (model_dir / WEIGHTS_FILE).read_bytes() == weights and read_config(model_dir).weights_sha256 == sha256
    version = read_config(model_dir).version
    assert (version.kind, version.author, version.note) == ("calibration", "ann", "2 joined")
    # A loaded model takes them without loading again, and gives them back.
    after = models.get(model_dir).detector
    assert after.calibration.p_value(90.5) == 2 / (n + 3) and after.pyramid is before.pyramid
    assert before.calibration.scores.size == n and models.get(model_dir).detector is after
    # What is loaded and saved again is the same model: with as many held-out images, in the same file of weights.
    loaded = AnomalyDetector.load(model_dir, "cpu")
    assert loaded.calibration == after.calibration and loaded.threshold == loaded.calibration.threshold()
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS_FILE).read_bytes() == weights
    assert read_calibration(tmp_path / "again")[0].held_out == before.calibration
    joined(model_dir, [90.0, 91.0, 92.0])
    assert AnomalyDetector.load(model_dir, "cpu").calibration.scores.size == n + 3
    restore_version(model_dir, 1)
    assert models.get(model_dir).detector.calibration == before.calibration
    with pytest.raises(ModelError, match="replaced meanwhile"):
        save_calibration(model_dir, loaded.calibration, None, "", weights_sha256="0" * 64)


def test_an_adapted_model_is_known_by_its_weights(model_dir: Path) -> None:
    assert not is_adapted(model_dir)
    detector = AnomalyDetector.load(model_dir, "cpu")
    detector.pyramid.bases[0].mean.data += 1
    save_version(model_dir, detector, "", kind="adapted")
    save_threshold(model_dir, THRESHOLD, "")
    assert is_adapted(model_dir)
    restore_version(model_dir, 1)
    assert not is_adapted(model_dir)
