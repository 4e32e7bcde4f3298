"""ZeroGPU: a GPU is lent for the length of a decorated call, which runs in a forked process and nowhere else.

Inference sends the images into such a call and gets maps back. A training runs in pieces: each call trains for about a
minute and stops with a checkpoint, and the next one resumes exactly there. Processes would find no GPU, so a thread of
the page's server takes their place; for watchers the run directory looks the same.

Who holds the run's lock, by which watchers know that a trainer lives: the thread while it waits, the call while it
trains. In between it is free for some hundredths of a second.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from altub.errors import AltUBError
from altub.inference.model_cache import ModelCache
from altub.runs.launchers.base import LocalLauncher
from altub.runs.queue import wait_for_turn
from altub.runs.run import Run
from altub.runs.time_limit import TimeLimit

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from altub.inference.detector import MapSource

__all__ = ["ZeroGPULauncher", "gpu_decorator", "train_piece"]

MAPS_SECONDS = 60  # longest a call may take, by which ZeroGPU plans
TRAINING_SECONDS = 120
PIECE = 60.0  # seconds of training in a call; the rest is for data, features and the end of the epoch
TURN_FILE = "turn"  # the call has started and wants the run's lock
LOOK = 0.01  # seconds between two looks for it


def gpu_decorator() -> Callable[..., Any] | None:
    """`spaces.GPU`, or None where the package is missing (a folder of that name is then imported in its place)."""
    try:
        import spaces
    except ImportError:
        return None
    return getattr(spaces, "GPU", None)


class ZeroGPULauncher(LocalLauncher):
    """Trains runs in decorated calls, and computes maps in them.

    Outside of the calls there is no GPU: a model whose maps come from `map_source` is loaded to the CPU.

    Args:
        decorate: `spaces.GPU`.
        piece: seconds that one call trains.
    """

    def __init__(self, decorate: Callable[..., Any], piece: float = PIECE) -> None:
        self.piece = piece
        self._maps = decorate(duration=MAPS_SECONDS)(maps_on_gpu)
        self._train = decorate(duration=TRAINING_SECONDS)(train_piece)

    # Inference.

    def map_source(self, folder: Path) -> MapSource:
        """What computes the maps of the model in `folder` on the lent GPU."""
        return partial(self._compute_maps, str(folder))

    def _compute_maps(
        self, folder: str, images: Sequence[Image.Image], image_size: int | None = None
    ) -> tuple[Tensor, Tensor]:
        import torch

        maps, scales = self._maps(folder, list(images), image_size)
        if isinstance(maps, list):  # of several sizes
            return list(map(torch.from_numpy, maps)), list(map(torch.from_numpy, scales))
        return torch.from_numpy(maps), torch.from_numpy(scales)

    # Training.

    def start(self, run: Run) -> None:
        """Trains the run in a thread; returns at once. The visitor who started it lends the GPU's time."""
        context = contextvars.copy_context()  # ZeroGPU finds the visitor's request in it
        threading.Thread(target=context.run, args=(self.train, run), name=f"ZeroGPU {run.id}", daemon=True).start()

    def train(self, run: Run) -> None:
        """Waits for the run's turn and trains it to its end, to a stop, or to a problem, which goes into its status."""
        try:
            with run.lock():
                with run.changing_status() as status:
                    status.to_queued(pid=os.getpid())
                is_unfinished = wait_for_turn(run, lambda: False)
            while is_unfinished:
                is_unfinished = self._one_piece(run)
            if run.stop_requested():
                run.clear_stop()
                with run.changing_status() as status:
                    status.to_stopped(f"Stopped after epoch {status.epoch}.")
        except AltUBError as error:  # noted by the trainer already, unless it could not begin
            if run.read_status().state != "failed":
                run.mark_failed(error)
        except Exception as error:  # whatever ZeroGPU says, such as a used-up quota, is for the visitor to read
            run.mark_failed(
                f"ZeroGPU ended the training after epoch {run.read_status().epoch}: {error}. Resume continues from the "
                "last checkpoint."
            )

    def _one_piece(self, run: Run) -> bool:
        """One call; is there more to do?"""
        turn = run.path / TURN_FILE
        with ThreadPoolExecutor(1) as pool:
            with run.lock():
                if run.stop_requested():
                    return False
                turn.unlink(missing_ok=True)
                with run.changing_status() as status:
                    status.to_running("waiting for the GPU")
                    status.message, status.pid = "", os.getpid()
                call = pool.submit(contextvars.copy_context().run, self._train, str(run.path), self.piece)
                while not (turn.exists() or call.done()):
                    time.sleep(LOOK)
            more = call.result()
        turn.unlink(missing_ok=True)
        return more


# What runs inside of the calls, in the forked process.


@cache
def _models() -> ModelCache:
    """The models of the process that lives in the call."""
    return ModelCache()


def maps_on_gpu(folder: str, images: list[Image.Image], image_size: int | None) -> tuple[np.ndarray, np.ndarray]:
    """`AnomalyDetector.raw_maps` of the model in `folder`, as arrays."""
    maps, scales = _models().get(folder).detector.raw_maps(images, image_size)
    if isinstance(maps, list):  # of several sizes
        return [one.cpu().numpy() for one in maps], [one.cpu().numpy() for one in scales]
    return maps.cpu().numpy(), scales.cpu().numpy()


def train_piece(path: str, seconds: float) -> bool:
    """Trains the run in `path` for about so many seconds, at least one step; is there more to do?

    The seconds count from the first step: a piece that ended while it reads data or evaluates an epoch would let the
    next one begin at the same place.
    """
    from altub.training.loop import train

    run = Run(Path(path))
    (run.path / TURN_FILE).touch()
    limit = TimeLimit(run)
    until, piece_over = float("inf"), False

    def should_stop() -> bool:
        nonlocal piece_over
        if run.stop_requested() or limit.is_over():
            return True
        piece_over = time.monotonic() >= until
        return piece_over

    before = run.read_status()
    kind = ""
    for event in train(run, should_stop=should_stop):
        kind = event.kind
        limit.update(event.status)
        moved = (event.status.epoch, event.status.step) != (before.epoch, before.step)
        if moved and until == float("inf"):
            until = time.monotonic() + seconds
    limit.explain()
    return kind == "stopped" and piece_over
