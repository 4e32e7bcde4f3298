"""A few models that stay loaded, for programs that predict again and again.

A loaded model stays until its weights change on the disk (`weights_sha256` in its config.json), as a running training
replaces them after every epoch, or until others push it out. A changed threshold, and images that joined the
calibration, take effect without loading again.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from altub.errors import ModelError
from altub.inference.config import ModelConfig
from altub.inference.model_files import CONFIG_FILE, read_config
from altub.inference.threshold import Threshold

if TYPE_CHECKING:
    from altub.inference.detector import AnomalyDetector, MapSource

__all__ = ["LoadedModel", "ModelCache", "read_model_config"]

KEPT = 3  # loaded models


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
        map_source: gives what computes the maps of the model in a folder, if not the detector itself.
    """

    def __init__(
        self, size: int = KEPT, device: str = "auto", map_source: Callable[[Path], MapSource] | None = None
    ) -> None:
        self.size, self.device, self.map_source = size, device, map_source
        self._loaded: OrderedDict[Path, LoadedModel] = OrderedDict()
        self._loading: dict[Path, threading.Lock] = {}  # one load at a time for each folder
        self._lock = threading.Lock()

    def get(self, folder: str | Path) -> LoadedModel:
        """The model in `folder`, loaded only if it is not yet or its weights have changed.

        Raises:
            ModelError: as from `AnomalyDetector.load`; also where the model was never calibrated.
            WeightsError: the backbone's weights are not available.
        """
        from altub.inference.detector import AnomalyDetector

        folder = Path(folder).resolve()
        with self._lock:
            loading = self._loading.setdefault(folder, threading.Lock())
        with loading:
            config = read_model_config(folder)
            sha256 = config.weights_sha256
            with self._lock:
                model = self._loaded.get(folder)
                if model is not None and model.weights_sha256 == sha256:
                    self._loaded[folder] = model = _as_configured(model, config)
                    self._loaded.move_to_end(folder)
                    return model
            # No backbone is fetched because somebody looks at a model that names it: models come from anywhere.
            source = self.map_source(folder) if self.map_source is not None else None
            detector = AnomalyDetector.load(folder, self.device, map_source=source, download=False, for_scoring=True)
            detector.require_calibration()
            # If the trainer replaced the files between the two reads, the next `get` just loads once more.
            model = LoadedModel(detector, sha256)
            with self._lock:
                self._loaded[folder] = model
                self._loaded.move_to_end(folder)
                while len(self._loaded) > self.size:
                    self._loaded.popitem(last=False)
            return model


def _as_configured(model: LoadedModel, config: ModelConfig) -> LoadedModel:
    """The model with its own threshold and the images that joined its calibration as they now stand on the disk.

    Its weights are shared: requests that still use the other detector keep what they began with.
    """
    threshold = None if config.threshold is None else Threshold.from_dict(config.threshold)
    present = model.detector.require_calibration()
    calibration = present.with_joined((config.calibration or {}).get("joined"))
    if threshold == model.detector.own_threshold and calibration == present:
        return model
    detector = copy.copy(model.detector)
    detector.own_threshold, detector.calibration = threshold, calibration
    return LoadedModel(detector, model.weights_sha256)


def read_model_config(folder: Path) -> ModelConfig:
    """As `model_files.read_config`; errors name the run that the model belongs to, not the folder, which visitors of a
    page need not know.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    try:
        return read_config(folder)
    except ModelError as error:
        name = folder.parent.name
        if not (folder / CONFIG_FILE).is_file():
            raise ModelError(f"The model of {name} is gone: choose another run.") from error
        raise ModelError(str(error).replace(str(folder), name)) from error
