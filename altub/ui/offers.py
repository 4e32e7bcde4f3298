"""The models that the page offers.

A model is the `model` folder of a run, of whatever state: a running training replaces it after every epoch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from altub.data import PixelRange
from altub.errors import ModelError, RunError
from altub.files import printable
from altub.hub.pull import ORIGIN_FILE
from altub.inference.config import ModelConfig
from altub.inference.model_cache import read_model_config
from altub.inference.model_files import CONFIG_FILE
from altub.metrics import METRICS, Metrics
from altub.runs.notes import read_notes
from altub.runs.run import Run, list_runs

__all__ = ["LATEST", "Offer", "find_model", "list_offers"]

LATEST = "latest"  # stands for the newest finished run of this machine


@dataclass(frozen=True)
class Offer:
    """A run with a model, and what to tell about it."""

    id: str
    category: str
    backbone: str
    state: str
    epoch: int  # the model's, not the trainer's
    epochs: int
    created: float  # seconds since 1970
    metrics: Metrics  # on the test set after `epoch`; without a value where none were computed
    weights_sha256: str
    pixel_range: PixelRange | None = None
    compares_images: bool = True  # with the training images as a whole
    name: str = ""  # that people gave it
    is_pinned: bool = False

    @property
    def label(self) -> str:
        """One line for a list: category, backbone, how good, how far, when."""
        first = f"{self.name} ({self.category})" if self.name else self.category
        parts = [f"★ {first}" if self.is_pinned else first, self.backbone.partition(".")[0]]
        for name in ("pixel_auroc", "image_auroc"):
            if (value := self.metrics.value(name)) is not None:
                parts.append(f"{METRICS[name].label} {value:.3f}")
                break
        parts += [self.progress, time.strftime("%d %b %H:%M", time.localtime(self.created))]
        return " · ".join(parts)

    @property
    def progress(self) -> str:
        if self.state == "finished":
            return f"{self.epoch} epoch{'s' if self.epoch != 1 else ''}"
        words = "training" if self.state in ("running", "queued") else self.state
        return f"{words}, epoch {self.epoch} of {self.epochs}"


def list_offers(root: Path | None = None) -> list[Offer]:
    """Every run with a model that can be read and is not in the archive, newest first."""
    return [offer for run in list_runs(root) if (offer := _offer(run)) is not None]


def find_model(run_id: str, root: Path | None = None, *, category: str = "") -> Run:
    """The run with this id, which has a model.

    Args:
        run_id: "latest" is the newest run that is finished and was not pulled from the Hub.
        category: that the model must be for; empty takes any.

    Raises:
        RunError: there is no such run, it has no model yet, or one for another category.
    """
    if run_id == LATEST:
        for run in list_runs(root):
            # Somebody else's model must be chosen by its name, and one that is still learning too.
            if (run.path / ORIGIN_FILE).exists() or (offer := _offer(run)) is None:
                continue
            if offer.state == "finished" and category in ("", offer.category):
                return run
        kind = f" for {printable(category[:100])}" if category else ""
        raise RunError(f"There is no finished training{kind} yet: name a run of the list, or train one.")
    try:
        run = Run.find(run_id, root)
    except RunError as error:  # says where runs lie on this machine, which is nothing for a visitor
        raise RunError("There is no run with that id: choose one from the list of runs.") from error
    if not (run.model_dir / CONFIG_FILE).is_file():
        raise RunError(f"Run {run.id} has no model yet: it has one after its first epoch.")
    if category and (offer := _offer(run, archived=True)) is not None and offer.category != category:
        raise RunError(f"Run {run.id} is for {offer.category}, not for {printable(category[:100])}: name another run.")
    return run


def _offer(run: Run, *, archived: bool = False) -> Offer | None:
    try:
        changed = (run.model_dir / CONFIG_FILE).stat().st_mtime_ns
        about = _about(run.model_dir / CONFIG_FILE, changed)
    except (OSError, ModelError):  # not there yet, damaged, or not a file at all
        return None
    notes = read_notes(run)
    if notes.archived and not archived:
        return None
    status = run.read_status()
    if status.state in ("queued", "running"):
        status = run.status  # looks whether the trainer is still there
    return Offer(
        id=run.id,
        category=about.info.category,
        backbone=about.detector.backbone,
        state=status.state,
        epoch=about.info.epoch,
        epochs=status.epochs or about.info.epoch,
        created=status.created,
        metrics=about.info.metrics or Metrics(),
        weights_sha256=about.weights_sha256,
        pixel_range=about.detector.pixel_range,
        compares_images=about.comparability is not None,
        name=notes.name,
        is_pinned=notes.pinned,
    )


@lru_cache(maxsize=1024)
def _about(config_file: Path, changed: int) -> ModelConfig:
    """What a model's config.json says; `changed`, its time of change, makes a new version a new entry."""
    return read_model_config(config_file.parent)
