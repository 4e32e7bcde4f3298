"""A model of the Hub becomes a run: Inspect offers it, and Train shows its curves."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from altub.errors import ModelError, RunError, WeightsError
from altub.files import explain_full_disk, read_json, write_json
from altub.hub.checks import CARD_FILE, HISTORY_FILE, LIMITS
from altub.hub.errors import HubError
from altub.hub.fetch import Report, Snapshot, Token, fetch_model
from altub.hub.history import unpack_history
from altub.inference.model_files import CONFIG_FILE, WEIGHTS_FILE
from altub.runs.run import Run, Status
from altub.training.config import TrainingConfig

__all__ = ["ORIGIN_FILE", "pull"]

ORIGIN_FILE = "hub.json"  # in the run directory: which repo and commit it came from


def pull(
    reference: str,
    run_dir: str | Path,
    *,
    token: Token = None,
    may_use_cache: bool = True,
    public_only: bool = False,
    with_backbone: bool = False,
    report: Report | None = None,
) -> Run:
    """A finished run at `run_dir` with the model of the Hub; all of it or nothing is written.

    A directory that holds this very commit already is returned as it is.

    Args:
        reference: "user/name" or "user/name@revision".
        run_dir: a new or empty directory.
        with_backbone: fetch the weights of the backbone that the model names, too, where this machine lacks them.
        token, may_use_cache, public_only, report: as for `fetch_model`.

    Raises:
        HubError, DiskFullError: as from `fetch_model`.
        RunError: `run_dir` holds something else.
    """
    target = Path(run_dir)
    origin = _origin(target)
    if origin is None and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError(f"{target} is not empty: choose another directory to pull into.")
    snapshot = fetch_model(
        reference,
        token=token,
        everything=True,
        may_use_cache=may_use_cache,
        public_only=public_only,
        report=report,
    )
    if origin is not None:
        if (origin.get("repo"), origin.get("commit")) != (snapshot.reference.repo, snapshot.commit):
            raise RunError(
                f"{target} holds {origin.get('repo')} at commit {str(origin.get('commit'))[:7]}: "
                "choose another directory to pull into."
            )
        return Run.open(target)
    with explain_full_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # Hidden, so that no list of runs shows it before it is whole; one rename makes it the run.
        stage = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".pull"))
    try:
        with explain_full_disk(target):
            os.chmod(stage, 0o755)
            _fill(Run(stage), snapshot, with_backbone)
            os.replace(stage, target)
    except OSError as error:
        raise RunError(f"{target} could not be written ({error.strerror}): choose another directory.") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)  # gone already where it was renamed
    return Run.open(target)


def _fill(run: Run, snapshot: Snapshot, with_backbone: bool) -> None:
    run.model_dir.mkdir()
    for name in (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE):
        if (snapshot.folder / name).is_file():
            shutil.copyfile(snapshot.folder / name, run.model_dir / name)
    notes = [note for note in (_try_model(run, snapshot, with_backbone), _copy_history(run, snapshot)) if note]
    config = _training_config(snapshot)
    write_json(run.path / "config.json", config.model_dump(mode="json"))
    origin = {"repo": snapshot.reference.repo, "revision": snapshot.reference.revision, "commit": snapshot.commit}
    write_json(run.path / ORIGIN_FILE, origin)
    info, now = snapshot.config.info, time.time()
    run.write_status(
        Status(
            state="finished",
            stage="pulled",
            epoch=info.epoch,
            epochs=max(config.epochs, info.epoch),
            progress=1.0,
            backbone=config.backbone,
            created=now,
            message=f"Pulled from {snapshot.reference.repo} on the Hub, commit {snapshot.commit[:7]}"
            + (" (from the cache: the Hub could not be reached)." if snapshot.from_cache else "."),
            notes=notes,
        )
    )


def _try_model(run: Run, snapshot: Snapshot, with_backbone: bool) -> str | None:
    """Builds the model once, strictly; a note if only its backbone's weights are missing here."""
    from altub.inference.detector import AnomalyDetector

    try:
        AnomalyDetector.load(run.model_dir, "cpu", download=with_backbone)
    except WeightsError as error:
        return f"The model is complete, but its backbone is not available on this machine yet: {error}"
    except ModelError as error:
        raise HubError(f"{snapshot.reference} cannot be used: {_without_folder(error, run)}") from error
    return None


def _without_folder(error: ModelError, run: Run) -> str:
    """The sentence without a folder that is gone by the time it is read."""
    return str(error).replace(f"The model in {run.model_dir}", "the model").replace(str(run.model_dir), "the repo")


def _copy_history(run: Run, snapshot: Snapshot) -> str | None:
    file = snapshot.folder / HISTORY_FILE
    if not file.is_file() or file.stat().st_size > LIMITS[HISTORY_FILE]:
        return None
    history = unpack_history(file.read_bytes())
    if history is None:
        return f"The curves of the training ({HISTORY_FILE}) are damaged or of another version, so they were skipped."
    run.replace_events(history.events)
    if history.base_history:
        run.write_base_history(history.base_arrays())
    return None


def _training_config(snapshot: Snapshot) -> TrainingConfig:
    """The settings that the model was trained with; its images stayed where they were, unless they are the sample."""
    info, detector = snapshot.config.info, snapshot.config.detector
    settings: dict[str, Any] = info.training or {
        "category": info.category,
        "image_size": detector.image_size,
        "epochs": max(1, info.epoch),
        "flow": detector.flow.model_dump(),
    }
    data = "sample" if info.data == "sample" else f"hub:{snapshot.reference.repo}"
    exact = {"backbone": detector.backbone, "stages": detector.stages}
    return TrainingConfig.stored({**settings, **exact, "data": data})


def _origin(target: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        origin = read_json(target / ORIGIN_FILE)
        if isinstance(origin, dict):
            return origin
    return None
