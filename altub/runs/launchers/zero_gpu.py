"""ZeroGPU: a GPU is lent for the length of a decorated call, which runs in a forked process and nowhere else.

Inference sends the images into such a call and gets maps back. A training goes on in pieces: each call trains for about
a minute and stops with a checkpoint, and the next one resumes exactly there. Processes of `altub.runs.queue` would find
no GPU, so a thread of the page's server takes their place; the run directory tells watchers the same as ever.

Hold of the run's lock, by which watchers know that a trainer lives: the thread has it while it waits, the call while it
trains. In between nobody has it for some hundredths of a second.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from altub.deploy.server.limits import TimeLimit
from altub.errors import AltUBError
from altub.runs import queue as jobs
from altub.runs.run import Run, Status

if TYPE_CHECKING:
    from PIL import Image

    from altub.inference.detector import AnomalyDetector

__all__ = ["ZeroGPU", "gpu_decorator", "install", "train_piece"]

MAPS_SECONDS = 60  # longest a call may take, by which ZeroGPU plans
TRAINING_SECONDS = 120
PIECE = 60.0  # seconds of training in a call; the rest is for data, features and the end of the epoch
TURN_FILE = "turn"  # the call has begun and wants the run's lock
LOOK = 0.01  # seconds between two looks for it


def gpu_decorator() -> Callable[..., Any] | None:
    """`spaces.GPU`, or None where the package is missing (a folder of that name is then imported in its place)."""
    try:
        import spaces
    except ImportError:
        return None
    return getattr(spaces, "GPU", None)


def install() -> ZeroGPU | None:
    """Makes the page infer and train inside of decorated calls; None where there are none to be had."""
    decorate = gpu_decorator()
    if decorate is None:
        return None
    from altub.ui.model_cache import MODELS

    gpu = ZeroGPU(decorate)
    MODELS.device, MODELS.lend = "cpu", gpu.lend  # outside of the calls there is no GPU to load a model to
    jobs.use_launcher(gpu.launch)
    return gpu


class ZeroGPU:
    """The two decorated calls, and what goes around them.

    Args:
        decorate: `spaces.GPU`.
        piece: seconds that one call trains.
    """

    def __init__(self, decorate: Callable[..., Any], piece: float = PIECE) -> None:
        self.piece = piece
        self._maps = decorate(duration=MAPS_SECONDS)(maps_on_gpu)
        self._train = decorate(duration=TRAINING_SECONDS)(train_piece)

    # Inference.

    def lend(self, detector: AnomalyDetector, folder: Path) -> AnomalyDetector:
        """Lets the detector, loaded from `folder`, compute its maps on the lent GPU."""
        detector.raw_maps = partial(self._raw_maps, str(folder))
        return detector

    def _raw_maps(self, folder: str, images: Sequence[Image.Image], image_size: int | None = None) -> tuple[Any, Any]:
        import torch

        maps, scales = self._maps(folder, list(images), image_size)
        return torch.from_numpy(maps), torch.from_numpy(scales)

    # Training.

    def launch(self, run: Run) -> None:
        """Trains the run in a thread; returns at once. The visitor whose click began it lends the GPU's time."""
        context = contextvars.copy_context()  # ZeroGPU finds the visitor's request in it
        threading.Thread(target=context.run, args=(self.train, run), name=f"ZeroGPU {run.id}", daemon=True).start()

    def train(self, run: Run) -> None:
        """Waits for the run's turn and trains it to its end, to a stop, or to a problem, which goes into its status."""
        try:
            with run.lock():
                _say(run, state="queued", stage="waiting for its turn")
                may_go_on = jobs.wait_for_turn(run, lambda: False)
            while may_go_on:
                may_go_on = self._one_piece(run)
            if run.stop_requested():
                run.clear_stop()
                _say(run, state="stopped", stage="stopped", message=f"Stopped after epoch {run.read_status().epoch}.")
        except AltUBError as error:  # told by the trainer already, unless it could not begin
            if run.read_status().state != "failed":
                _say(run, state="failed", stage="failed", message=str(error))
        except Exception as error:  # whatever ZeroGPU says, such as a used-up quota, is for the visitor to read
            _say(
                run,
                state="failed",
                stage="failed",
                message=f"ZeroGPU ended the training after epoch {run.read_status().epoch}: {error}. "
                "Resume goes on from the last checkpoint.",
            )

    def _one_piece(self, run: Run) -> bool:
        """One call; is there more to do?"""
        turn = run.path / TURN_FILE
        with ThreadPoolExecutor(1) as pool:
            with run.lock():
                if run.stop_requested():
                    return False
                turn.unlink(missing_ok=True)
                _say(run, state="running", stage="waiting for the GPU")
                call = pool.submit(contextvars.copy_context().run, self._train, str(run.path), self.piece)
                while not (turn.exists() or call.done()):
                    time.sleep(LOOK)
            more = call.result()
        turn.unlink(missing_ok=True)
        return more


# What runs inside of the calls, in the forked process.

_models: Any = None


def maps_on_gpu(folder: str, images: list[Image.Image], image_size: int | None) -> tuple[np.ndarray, np.ndarray]:
    """`AnomalyDetector.raw_maps` of the model in `folder`, as arrays."""
    global _models
    if _models is None:
        from altub.ui.model_cache import ModelCache

        _models = ModelCache()
    maps, scales = _models.get(folder).detector.raw_maps(images, image_size)
    return maps.cpu().numpy(), scales.cpu().numpy()


def train_piece(path: str, seconds: float) -> bool:
    """Trains the run in `path` for about so many seconds, at least one step; is there more to do?

    The seconds begin when this piece has got somewhere: were it ended while it reads data or evaluates an epoch, the
    next one would begin at the same place.
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

    began = run.read_status()
    kind = ""
    for event in train(run, should_stop=should_stop):
        kind = event.kind
        limit.see(event.status)
        moved = (event.status.epoch, event.status.step) != (began.epoch, began.step)
        if moved and until == float("inf"):
            until = time.monotonic() + seconds
    limit.explain()
    return kind == "stopped" and piece_over


def _say(run: Run, **changes: Any) -> None:
    status = run.read_status()
    run.write_status(Status.model_validate({**status.model_dump(), "message": "", "pid": os.getpid(), **changes}))
