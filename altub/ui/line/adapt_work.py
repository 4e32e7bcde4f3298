"""What the Adapt card does: collects today's good images, adapts a copy of the model, keeps or discards it.

An adapted model lies in memory under a token until it is kept or discarded, or others push it out.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from altub.data import opened
from altub.errors import DataError, ImageError, RunError
from altub.files import printable
from altub.inference.batch import Source
from altub.inference.config import ModelVersion
from altub.inference.exports import collect_images
from altub.inference.model_cache import LoadedModel, ModelCache
from altub.inference.versions import save_version
from altub.labels import LabelStore
from altub.line.adapt import Adaptation, adapt
from altub.runs.run import Run
from altub.training.adaptation_ways import Way

__all__ = ["MOST", "Pending", "PendingModels", "adapt_model", "from_folder", "from_labels", "keep"]

MOST = 64  # images; 32 are plenty
KEPT = 4  # adapted models in memory; a backbone is shared, a flow takes some MB


@dataclass(frozen=True)
class Pending:
    """An adapted model that nobody has decided on.

    Attributes:
        run: whose model it is.
        before: the model that it was made from.
        skipped: a sentence for each image that could not be read.
        doubts: why the images may be no good parts, a sentence each; empty where they look like good ones.
    """

    run: Run
    before: LoadedModel
    adaptation: Adaptation
    skipped: tuple[str, ...]
    doubts: tuple[str, ...]


class PendingModels:
    """Adapted models by tokens that cannot be guessed; safe to use from many threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Pending] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, pending: Pending) -> str:
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[token] = pending
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return token

    def get(self, token: object) -> Pending:
        """
        Raises:
            RunError: it was kept or discarded, or pushed out by others.
        """
        with self._lock:
            pending = self._kept.get(token) if isinstance(token, str) else None
        if pending is None:
            raise RunError("This adapted model is no longer kept: adapt again.")
        return pending

    def drop(self, token: object) -> None:
        with self._lock:
            self._kept.pop(token if isinstance(token, str) else "", None)


def from_folder(folder: Path) -> list[Source]:
    """The last images of a folder by name.

    Raises:
        DataError: there is none.
    """
    return [Source(path, path.relative_to(folder).as_posix()) for path in collect_images([folder])[-MOST:]]


def from_labels(store: LabelStore, source: str | None) -> list[Source]:
    """The images that people called good, the newest ones; source None: of all.

    Raises:
        DataError: there is none.
    """
    good = [image for image, label in store.labels.all(source).items() if label.verdict == "good"][-MOST:]
    if not good:
        raise DataError("No image is labelled good there: give verdicts on the Label tab first, or drop images.")
    return [Source(store.images.path(image), store.images.get(image).name) for image in good]


def adapt_model(
    models: ModelCache,
    run: Run,
    sources: Sequence[Source],
    progress: Callable[[int, int], None],
    way: Way | None = None,
) -> Pending:
    """Adapts a copy of a run's model. Images that cannot be read are left out; those that do not look like good parts
    are a doubt, on which a person decides. Without a way it is the best that the model allows.

    Raises:
        ConfigError: the model does not allow this way.
        DataError: fewer than 8 images that can be read.
        ModelError: the model cannot be used.
    """
    model = models.get(run.model_dir)
    usable, skipped = [], []
    for source in sources[-MOST:]:
        try:
            with opened(source.path, pixel_range=model.detector.config.pixel_range):
                usable.append(source)
        except ImageError as error:
            skipped.append(_renamed(str(error), [source]))
    adaptation = adapt(model.detector, [source.path for source in usable], way=way, refuse=False, progress=progress)
    doubts = tuple(_renamed(note, usable) for note in adaptation.report.notes)
    return Pending(run, model, adaptation, tuple(skipped), doubts)


def keep(models: ModelCache, pending: Pending) -> ModelVersion:
    """Makes the adapted model the run's, as a new version.

    Raises:
        RunError: the run is being trained, or its model was changed since it was adapted.
        ModelError, DiskFullError: as of `save_version`.
    """
    run, report = pending.run, pending.adaptation.report
    if run.status.state in ("queued", "running"):
        raise RunError(f"Run {run.id} is being trained, which replaces its model: stop it first.")
    if models.get(run.model_dir).weights_sha256 != pending.before.weights_sha256:
        raise RunError("The model was changed since: adapt the one that is in use now.")
    note = f"Adapted by {report.way} to {report.images} good images."
    return save_version(run.model_dir, pending.adaptation.detector, note, kind="adapted")


def _renamed(text: str, sources: Sequence[Source]) -> str:
    """The text with the names that people know the files by."""
    for source in sources:
        text = text.replace(printable(source.path.name), printable(source.name))
    return text
