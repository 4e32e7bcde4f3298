"""Versions of a saved model: every change to a model in use is kept, and any of them can be put back.

    model/
      config.json, model.safetensors   the version in use; config.json holds its number, time and note
      versions/0001/, 0002/, ...       every version as a whole model; equal weights are one file on the disk

A model that was just trained has no version. The first change (a threshold from labels, labelled images that join the
calibration, an adaptation to a changed line) keeps what was there as version 1 and becomes version 2. A model folder is
copied, pushed and deployed without its versions: they belong to the machine that uses it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from altub.errors import ConfigError, ModelError
from altub.files import explain_full_disk, read_json
from altub.inference.config import ModelVersion
from altub.inference.model_files import CONFIG_FILE, WEIGHTS_FILE, read_config, read_model, replace_model

if TYPE_CHECKING:
    from altub.inference.calibration import Calibration
    from altub.inference.detector import AnomalyDetector
    from altub.inference.threshold import Threshold

__all__ = [
    "VERSIONS_FOLDER",
    "is_adapted",
    "list_versions",
    "remove_version",
    "restore_version",
    "save_calibration",
    "save_threshold",
    "save_version",
]

VERSIONS_FOLDER = "versions"
LOCK_PATIENCE = 30.0  # seconds that another change of the same model may take
LONGEST_NOTE = 500  # characters
# Of `Calibration.to_dict`; the held-out scores and peaks lie in the file of the weights.
_BESIDE_THE_SCORES = ("colour_low", "colour_high", "folds", "joined")


def list_versions(folder: str | Path) -> list[ModelVersion]:
    """All versions of the model in `folder`, oldest first; none for a model that was never changed.

    A version that cannot be read any more is left out.
    """
    found = []
    for entry in _entries(Path(folder)):
        with suppress(ModelError):
            version = read_config(entry).version
            if version is not None:
                found.append(version)
    return sorted(found, key=lambda version: version.number)


def save_version(
    folder: str | Path, detector: AnomalyDetector, note: str, *, author: str = "", kind: str = "changed"
) -> ModelVersion:
    """Makes the detector the model in `folder`, as a new version; the one that was there is kept.

    Args:
        folder: of a saved model.
        note: what changed, in words.
        author: who changed it.
        kind: "threshold", "calibration", "adapted" or "changed".

    Raises:
        ModelError: there is no model in `folder`, or it is being changed by another program.
        DiskFullError: no room; the model that was there still is in use.
    """
    folder = Path(folder)
    with _locked(folder):
        keep_present(folder)
        incoming = folder / VERSIONS_FOLDER / f".incoming-{os.getpid()}"
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            detector.save(incoming)
            config, weights = read_model(incoming)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return _make_current(folder, config, weights, _new_version(folder, note, author, kind))


def save_threshold(folder: str | Path, threshold: Threshold | None, note: str, *, author: str = "") -> ModelVersion:
    """Makes a threshold the own one of the model in `folder`, as a new version; its weights stay as they are.

    Args:
        threshold: None: that of the held-out good images again, at the default false-alarm rate.

    Raises:
        As `save_version`.
    """
    folder = Path(folder)
    with _locked(folder):
        keep_present(folder)
        config, weights = read_model(folder)
        config["threshold"] = None if threshold is None else threshold.to_dict()
        return _make_current(folder, config, weights, _new_version(folder, note, author, "threshold"))


def save_calibration(
    folder: str | Path,
    calibration: Calibration,
    threshold: Threshold | None,
    note: str,
    *,
    weights_sha256: str,
    author: str = "",
) -> ModelVersion:
    """Gives the model in `folder` a calibration that further images joined, as a new version; its weights stay.

    Only config.json changes: what was measured with these weights (scores in a label store, for example) stays valid.

    Args:
        calibration: `Calibration.extended_by` of the model's own.
        threshold: the model's own from now on; None: the calibration's at the default false-alarm rate.
        weights_sha256: of the model that the calibration was read from.

    Raises:
        ModelError: the model was replaced since, or as from `save_version`.
        DiskFullError: no room; the model that was there still is in use.
    """
    folder = Path(folder)
    with _locked(folder):
        config, weights = read_model(folder)
        if config.get("weights_sha256") != weights_sha256 or config.get("calibration") is None:
            raise ModelError(f"The model of {_name(folder)} was replaced meanwhile: try again.")
        keep_present(folder)
        config["calibration"] = {
            name: value for name, value in calibration.to_dict().items() if name in _BESIDE_THE_SCORES
        }
        config["threshold"] = None if threshold is None else threshold.to_dict()
        return _make_current(folder, config, weights, _new_version(folder, note, author, "calibration"))


def is_adapted(folder: str | Path) -> bool:
    """Do the weights of the model in `folder` come from an adaptation (`altub.training.adapt`) on this machine?"""
    folder = Path(folder)
    current = read_config(folder)
    for entry in _entries(folder):
        with suppress(ModelError):
            known = read_config(entry)
            adapted = known.version is not None and known.version.kind == "adapted"
            if adapted and known.weights_sha256 == current.weights_sha256:
                return True
    return False


def restore_version(folder: str | Path, number: int) -> ModelVersion:
    """Puts an older, or a newer, version in use again; nothing is lost.

    Raises:
        ModelError: there is no such version, or it is damaged.
    """
    folder = Path(folder)
    with _locked(folder):
        config, weights = read_model(_existing(folder, number))
        version = read_config(_existing(folder, number)).version
        if version is None:
            raise ModelError(f"Version {number} of {_name(folder)} is damaged: choose another one.")
        keep_present(folder)
        replace_model(folder, config, weights)
        return version


def remove_version(folder: str | Path, number: int) -> None:
    """Deletes a version that is not in use.

    Raises:
        ModelError: there is no such version.
        ConfigError: it is the one in use.
    """
    folder = Path(folder)
    with _locked(folder):
        entry = _existing(folder, number)
        current = read_config(folder).version
        if current is not None and current.number == number:
            raise ConfigError(f"Version {number} is in use: restore another one before you delete it.")
        gone = entry.with_name(f".removed-{entry.name}")
        os.replace(entry, gone)  # a reader finds all of it, or nothing
        shutil.rmtree(gone, ignore_errors=True)


def keep_present(folder: Path) -> None:
    """Keeps the model in `folder` as a version, unless it is one already. Call it with the lock held."""
    config, weights = read_model(folder)
    number = (config.get("version") or {}).get("number")
    if isinstance(number, int) and (folder / VERSIONS_FOLDER / f"{number:04d}" / CONFIG_FILE).is_file():
        return
    made = (folder / CONFIG_FILE).stat().st_mtime
    version = ModelVersion(number=_next_number(folder), created=made, note="As trained.", kind="trained")
    _make_current(folder, config, weights, version)


def _make_current(folder: Path, config: dict[str, Any], weights: bytes, version: ModelVersion) -> ModelVersion:
    """Stores a version, then puts it in use: a process killed in between leaves a version that is not in use."""
    config = {**config, "version": version.model_dump(mode="json")}
    _store(folder, config, weights, version.number)
    replace_model(folder, config, weights)
    return version


def _store(folder: Path, config: dict[str, Any], weights: bytes, number: int) -> None:
    versions = folder / VERSIONS_FOLDER
    partial = versions / f".partial-{number:04d}"
    shutil.rmtree(partial, ignore_errors=True)
    with explain_full_disk(folder):
        partial.mkdir(parents=True)
    try:
        linked = _link_equal(folder, config.get("weights_sha256"), partial / WEIGHTS_FILE)
        replace_model(partial, config, None if linked else weights)
        os.replace(partial, versions / f"{number:04d}")
    except BaseException:  # whatever ends it, nothing half-written stays
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _link_equal(folder: Path, sha256: Any, target: Path) -> bool:
    """Links `target` to the weights of a version that has the same ones; False: none has, or links are not possible."""
    for entry in _entries(folder):
        try:
            if read_json(entry / CONFIG_FILE).get("weights_sha256") == sha256:
                os.link(entry / WEIGHTS_FILE, target)
                return True
        except (OSError, ValueError, AttributeError):  # no links on this disk, or a damaged version: copy
            continue
    return False


def _new_version(folder: Path, note: str, author: str, kind: str) -> ModelVersion:
    number = _next_number(folder)
    return ModelVersion(number=number, created=time.time(), note=note[:LONGEST_NOTE], author=author[:100], kind=kind)


def _next_number(folder: Path) -> int:
    return max((int(entry.name) for entry in _entries(folder)), default=0) + 1


def _entries(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(entry for entry in (folder / VERSIONS_FOLDER).iterdir() if entry.name.isdecimal())
    return []


def _existing(folder: Path, number: int) -> Path:
    entry = folder / VERSIONS_FOLDER / f"{int(number):04d}"
    if not (entry / CONFIG_FILE).is_file():
        known = ", ".join(str(version.number) for version in list_versions(folder)) or "none"
        raise ModelError(f"There is no version {number} of {_name(folder)}. Its versions: {known}.")
    return entry


def _name(folder: Path) -> str:
    """The run that a model belongs to, or its folder."""
    return folder.parent.name if folder.name == "model" else folder.name


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One change of a model at a time, over processes.

    Raises:
        ModelError: there is no model, or another change does not end.
    """
    read_config(folder)  # before a folder is made where there is no model
    with explain_full_disk(folder):
        (folder / VERSIONS_FOLDER).mkdir(exist_ok=True)
    try:
        with filelock.FileLock(folder / VERSIONS_FOLDER / ".lock", timeout=LOCK_PATIENCE):
            yield
    except filelock.Timeout as error:
        raise ModelError(f"The model of {_name(folder)} is being changed by another program: try again.") from error
