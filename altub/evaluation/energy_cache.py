"""Energies of a run's held-out and test images, kept beside the run: all that its read-outs need of model and images.

    runs/<id>/rescoring/start.npz   of epoch 0, before any training
                        model.npz   of the run's model

They are small (a float32 a position and scale) and can be deleted at any time. Each file names the model, the images
and the version of the library that it is from; one of another is never read, and is replaced.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from altub.data.npz import read_npz
from altub.files import explain_full_disk, read_bytes, write_atomically
from altub.inference.model_files import read_config
from altub.training.fields import all_settings
from altub.version import __version__

if TYPE_CHECKING:
    from altub.runs.run import Run

__all__ = ["PARTS", "READOUTS", "Energies", "EnergyCache", "forget_energies"]

FOLDER = "rescoring"
FORMAT = 1
PARTS = ("held-out", "test")
#: Settings by which maps and scores are read out of a trained model: they can change without training it again.
READOUTS = tuple(entry.name for entry in all_settings() if entry.group == "score")

Energies = dict[str, list[np.ndarray]]
"""By part, per scale float32 (N, h, w)."""


class EnergyCache:
    """One file of energies, by log-det weight.

    Args:
        run: whose energies they are.
        name: of the file.
        device: kind of the device that computes them; another's differ by rounding.
    """

    def __init__(self, run: Run, name: str, device: str) -> None:
        self.path = run.path / FOLDER / f"{name}.npz"
        self.key = f"{_key(run)} {device}".encode()
        self._arrays = self._read()

    def missing(self, weights: Iterable[float]) -> list[float]:
        """Those of the log-det weights whose energies are not kept yet."""
        return [weight for weight in weights if _name(PARTS[0], weight, 0) not in self._arrays]

    def energies(self, weight: float) -> Energies:
        """The kept energies at a weight.

        Raises:
            KeyError: they are missing.
        """
        found: Energies = {}
        for part in PARTS:
            found[part] = [self._arrays[_name(part, weight, 0)]]
            while (array := self._arrays.get(_name(part, weight, len(found[part])))) is not None:
                found[part].append(array)
        return found

    def add(self, energies: Mapping[float, Energies]) -> None:
        """Keeps energies by weight, in memory and on disk.

        Raises:
            DiskFullError: no room.
        """
        for weight, parts in energies.items():
            for part, scales in parts.items():
                self._arrays |= {_name(part, weight, scale): array for scale, array in enumerate(scales)}
        buffer = BytesIO()
        np.savez(buffer, key=np.frombuffer(self.key, np.uint8), **self._arrays)
        with explain_full_disk(self.path):
            self.path.parent.mkdir(exist_ok=True)
        write_atomically(self.path, buffer.getvalue())

    def _read(self) -> dict[str, np.ndarray]:
        try:
            arrays = read_npz(self.path)
        except (OSError, ValueError):  # none yet, or damaged
            return {}
        key = arrays.pop("key", np.zeros(0, np.uint8))
        return arrays if key.tobytes() == self.key else {}


def forget_energies(run: Run) -> bool:
    """Deletes what is kept of a run; False if there was nothing."""
    folder = run.path / FOLDER
    there = folder.is_dir()
    shutil.rmtree(folder, ignore_errors=True)
    return there


def _key(run: Run) -> str:
    """A hash of all that the energies follow from: weights, architecture, images, seed and version."""
    model, config = read_config(run.model_dir), run.config
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "weights": model.weights_sha256,
        "detector": model.detector.model_dump(mode="json", exclude=set(READOUTS)),
        "images": _hash_of(run.data_file),
        "data": [config.data, config.category, config.held_out, config.seed],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _hash_of(path: Path) -> str:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except OSError:  # runs of 0.1 have no record of their images
        return ""


def _name(part: str, weight: float, scale: int) -> str:
    return f"{part} {float(weight)!r} {scale}"
