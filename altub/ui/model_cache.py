"""The models that the page offers, and the few that it keeps loaded.

A model is the `model` folder of a run, of whatever state: a running training replaces it after every epoch. A loaded
one stays until its weights change on the disk (`weights_sha256` in its config.json) or others push it out.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from altub.errors import ModelError, RunError
from altub.inference.config import ModelConfig
from altub.inference.detector import AnomalyDetector
from altub.inference.model_files import CONFIG_FILE, read_config
from altub.metrics import METRICS, Metrics
from altub.runs.run import Run, list_runs

__all__ = ["LATEST", "MODELS", "LoadedModel", "ModelCache", "Offer", "find_model", "list_offers"]

LATEST = "latest"  # stands for the newest run that has a model
KEPT = 3  # loaded models


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

    @property
    def label(self) -> str:
        """One line for a list: category, backbone, how good, how far, when."""
        parts = [self.category, self.backbone.partition(".")[0]]
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
    """Every run with a model that can be read, newest first."""
    return [offer for run in list_runs(root) if (offer := _offer(run)) is not None]


def find_model(run_id: str, root: Path | None = None) -> Run:
    """The run with this id ("latest": the newest with a model), which has a model.

    Raises:
        RunError: there is no such run, or it has no model yet.
    """
    if run_id == LATEST:
        for run in list_runs(root):
            if (run.model_dir / CONFIG_FILE).is_file():
                return run
        raise RunError("There is no trained model yet: train one first.")
    try:
        run = Run.find(run_id, root)
    except RunError as error:  # says where runs lie on this machine, which is nothing for a visitor
        raise RunError("There is no run with that id: choose one from the list of runs.") from error
    if not (run.model_dir / CONFIG_FILE).is_file():
        raise RunError(f"Run {run.id} has no model yet: it has one after its first epoch.")
    return run


@dataclass(frozen=True)
class LoadedModel:
    """A detector and the weights it was loaded from."""

    detector: AnomalyDetector
    weights_sha256: str


class ModelCache:
    """Keeps the last few models loaded; safe to use from many threads.

    Args:
        size: how many; the one that was not used for the longest goes first.
        device: as in `AnomalyDetector.load`.
    """

    def __init__(self, size: int = KEPT, device: str = "auto") -> None:
        self.size, self.device = size, device
        #: Applied to every detector that is loaded, with its folder: how a lent GPU comes in.
        self.lend: Callable[[AnomalyDetector, Path], AnomalyDetector] = lambda detector, folder: detector
        self._loaded: OrderedDict[Path, LoadedModel] = OrderedDict()
        self._loading: dict[Path, threading.Lock] = {}  # one load at a time for each folder
        self._lock = threading.Lock()

    def get(self, folder: str | Path) -> LoadedModel:
        """The model in `folder`, loaded only if it is not yet or its weights have changed.

        Raises:
            ModelError: as from `AnomalyDetector.load`; also where the model was never calibrated.
            WeightsError: the backbone's weights are not to be had.
        """
        folder = Path(folder).resolve()
        with self._lock:
            loading = self._loading.setdefault(folder, threading.Lock())
        with loading:
            sha256 = _read_config(folder).weights_sha256
            with self._lock:
                model = self._loaded.get(folder)
                if model is not None and model.weights_sha256 == sha256:
                    self._loaded.move_to_end(folder)
                    return model
            detector = AnomalyDetector.load(folder, self.device)
            if detector.calibration is None:
                raise ModelError("This model has no calibration: train it to its first epoch's end.")
            # If the trainer replaced the files between the two reads, the next `get` just loads once more.
            model = LoadedModel(self.lend(detector, folder), sha256)
            with self._lock:
                self._loaded[folder] = model
                self._loaded.move_to_end(folder)
                while len(self._loaded) > self.size:
                    self._loaded.popitem(last=False)
            return model


#: The page's cache.
MODELS = ModelCache()


def _offer(run: Run) -> Offer | None:
    try:
        changed = (run.model_dir / CONFIG_FILE).stat().st_mtime_ns
        about = _about(run.model_dir / CONFIG_FILE, changed)
    except (FileNotFoundError, ModelError):
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
    )


@lru_cache(maxsize=1024)
def _about(config_file: Path, changed: int) -> ModelConfig:
    """What a model's config.json says; `changed`, its time of change, makes a new version a new entry."""
    return _read_config(config_file.parent)


def _read_config(folder: Path) -> ModelConfig:
    """As `read_config`, in words for visitors, who need not know where runs lie on this machine."""
    try:
        return read_config(folder)
    except ModelError as error:
        name = folder.parent.name
        if not (folder / CONFIG_FILE).is_file():
            raise ModelError(f"There is no model in {name} any more: choose another run.") from error
        raise ModelError(str(error).replace(str(folder), name)) from error
