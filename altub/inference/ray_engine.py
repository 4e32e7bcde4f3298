"""Chunks of images predicted by the workers of a Ray cluster, by the extra `ray` (Ray Data).

The process that asks gives away paths and gets rows back; the journal, the table and the names of the pictures stay
with it (`altub.inference.folder`). A worker is an actor that loads the model once, reads the images, writes their
pictures and returns the rows. So every machine sees images, model and output folder at the same paths, and what one
process did before it was killed a cluster goes on with, and the other way round.

Ray sends Python objects between its processes as pickles. None is written to or read from a file here, and what this
module sends is JSON: paths, settings and rows. A cluster runs whatever is sent to it: keep its ports to yourself.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from altub import errors
from altub.errors import AltUBError, ConfigError, MissingExtraError, ModelError, RunError
from altub.files import printable
from altub.inference.detector import AnomalyDetector
from altub.inference.exports import PredictionWriter
from altub.inference.folder import ChunkPredictor, Done, Job, in_threads
from altub.inference.threshold import Threshold
from altub.settings import quiet_ray, ray_address

__all__ = ["RayEngine"]

MISSING = 'Scoring by --on ray needs Ray, which is not installed. Install it with: pip install "altub[ray]"'

# Images that a worker takes at a time: few enough that all have work until the end and that little is lost with a
# worker, many enough that handing them out costs nothing beside the model.
LEAST_IMAGES, MOST_IMAGES, TURNS = 8, 512, 32


class RayEngine:
    """An `altub.inference.folder.Engine`: the workers of a Ray cluster, or of this machine where there is none.

    The cluster is the one of `RAY_ADDRESS`, else the one that `ray start` began on this machine, else one of this
    machine's cores that lasts as long as the prediction.

    Args:
        model: folder of the saved model, at the same path on every machine.
        workers: how many models are loaded at a time; None: one for every GPU of the cluster, or for every core where
            there is none.
        device: as of `AnomalyDetector.load`; a worker with a GPU sees that one only.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, model: str | Path, *, workers: int | None = None, device: str = "auto") -> None:
        self.model, self.workers = Path(model).absolute(), workers
        self.device = "cuda" if device.startswith("cuda") else device
        quiet_ray()
        self._ray, self._data = _library("ray"), _library("ray.data")

    def __call__(self, jobs: Iterable[Job], predictor: ChunkPredictor) -> Iterator[Done]:
        """
        Raises:
            ConfigError: a report was asked for, or the cluster is too small for the workers.
            RunError: the cluster cannot be reached, or it lost its workers.
            Others as from the model and the writer, of a worker.
        """
        if predictor.paper is not None:
            raise ConfigError("report.html is written by one process only: leave out --report, or --on ray.")
        items = [json.dumps([str(job.path), job.name]) for job in jobs]
        if not items:
            return
        with self._cluster(), self._explained():
            workers, needs = self._size()
            blocks = -(-len(items) // min(max(len(items) // (workers * TURNS), LEAST_IMAGES), MOST_IMAGES))
            results = self._data.from_items(items, override_num_blocks=blocks).map_batches(
                Worker,
                fn_constructor_args=(json.dumps(self._work(predictor)),),
                batch_size=None,  # a block
                compute=self._data.ActorPoolStrategy(size=min(workers, blocks)),
                **needs,
            )
            for row in results.iter_rows():
                yield _unpacked(json.loads(row["result"]))

    def _work(self, predictor: ChunkPredictor) -> dict[str, Any]:
        """What a worker has to know, as plain values."""
        writer = predictor.writer
        return {
            "here": os.getcwd(),
            "model": str(self.model),
            "fingerprint": predictor.detector.fingerprint(),
            "device": self.device,
            "image_size": predictor.image_size,
            "reduced": predictor.reduced,
            "folder": str(writer.folder.absolute()),
            "threshold": writer.threshold.to_dict(),
            "formats": {"overlays": writer.overlays, "maps": writer.maps, "masks": writer.masks},
        }

    def _size(self) -> tuple[int, dict[str, int]]:
        """Number of workers, and what each takes of the cluster."""
        there: Mapping[str, float] = self._ray.cluster_resources()
        cores, gpus = int(there.get("CPU", 0)), int(there.get("GPU", 0))
        on_gpu = self.device == "cuda" or (self.device == "auto" and gpus > 0)
        most = min(cores, gpus) if on_gpu else cores
        if (self.workers or 1) > most:
            what = f"{gpus} GPUs and {cores} cores" if on_gpu else f"{cores} cores"
            raise ConfigError(
                f"The Ray cluster has {what}, too few for {self.workers or 1} workers: give fewer --workers, or add "
                "machines."
            )
        return self.workers or most, {"num_cpus": 1, **({"num_gpus": 1} if on_gpu else {})}

    @contextmanager
    def _cluster(self) -> Iterator[None]:
        """Connected to the cluster; to one that is connected already, as by a program that uses Ray itself."""
        if self._ray.is_initialized():
            yield
            return
        options = {"log_to_driver": False, "logging_level": logging.ERROR}
        address = ray_address()
        try:
            self._ray.init(address=address or "auto", **options)
        except ConnectionError as error:
            if address:
                raise RunError(f"The Ray cluster at {address} does not answer: check RAY_ADDRESS.") from error
            self._ray.init(address="local", num_cpus=self.workers, include_dashboard=False, **options)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        self._data.DataContext.get_current().enable_progress_bars = False  # `CountBar` shows the images
        try:
            yield
        finally:
            self._ray.shutdown()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the cluster in words; those of our own code in a worker keep their traceback."""
        found = self._ray.exceptions
        try:
            yield
        except found.RayError as error:
            if isinstance(error, found.RayTaskError | found.UserCodeException):
                raise
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RunError(
                f"The Ray cluster gave up ({printable(first)}). What is done is kept: give the same command again."
            ) from error


class Worker:
    """What runs in an actor: predicts blocks of images, and returns rows as JSON.

    A problem that a user can solve is a row too: Ray would wrap an exception, and start the actor again.

    Args:
        work: of `RayEngine`, as JSON.
    """

    def __init__(self, work: str) -> None:
        self._work: dict[str, Any] = json.loads(work)
        self._predictor: ChunkPredictor | None = None

    def __call__(self, batch: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        try:
            predictor = self._loaded()
            jobs = [Job(Path(path), name) for path, name in map(json.loads, batch["item"])]
            found = [[(str(path), *rest) for path, *rest in done] for done in in_threads(jobs, predictor)]
        except AltUBError as error:
            found = [{"error": type(error).__name__, "message": str(error)}]
        return {"result": [json.dumps(one) for one in found]}

    def _loaded(self) -> ChunkPredictor:
        """The model, loaded once.

        Raises:
            RunError: this machine does not see the folder that the images' paths start from.
            ModelError: the model here is another one.
        """
        if self._predictor is not None:
            return self._predictor
        work, host = self._work, socket.gethostname()
        try:
            os.chdir(work["here"])  # the images' paths may be relative
        except OSError as error:
            raise RunError(
                f"The Ray worker on {host} has no folder {printable(work['here'])}: images, model and output must be "
                "at the same paths on every machine."
            ) from error
        detector = AnomalyDetector.load(work["model"], work["device"], for_scoring=True)
        if detector.fingerprint() != work["fingerprint"]:
            raise ModelError(f"The model in {work['model']} on {host} is another one: use one folder for all machines.")
        threshold = Threshold.from_dict(work["threshold"])
        # Never closed: closing writes the table, which is the asking process's.
        writer = PredictionWriter(work["folder"], detector.require_calibration(), threshold, **work["formats"])
        self._predictor = ChunkPredictor(detector, writer, work["image_size"], reduced=work["reduced"])
        return self._predictor


def _unpacked(found: Any) -> Done:
    """
    Raises:
        AltUBError: the worker met a problem that a user can solve.
    """
    if isinstance(found, dict):
        kind = getattr(errors, found["error"], RunError)
        raise kind(found["message"])
    return [(Path(path), name, row) for path, name, row in found]


def _library(name: str) -> ModuleType:
    """
    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(MISSING) from error
