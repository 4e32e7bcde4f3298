"""How many small files a second `predict` scores, in how much memory, and what share of the model's own rate that is.

The files are hard links to some drawn images, so that thousands take no time to make; each is opened and decoded all
the same. `predict` runs in a process of its own and its whole time counts, from its start to the finished table. The
model's own rate is that of the same model on decoded images, in as many threads as `predict` has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from altub.data.images.reading import CHUNK_IMAGES
from altub.data.sample import render_example
from altub.errors import RunError
from altub.inference.detector import AnomalyDetector
from altub.inference.pipeline import run_in_order, threads_for
from altub.runs.launchers.process import spawn

__all__ = ["Scoring", "measure_scoring"]

DRAWN, SIDE = 200, 128  # images that differ, their width and height in pixels
MODEL_IMAGES = 500  # by which the model's own rate is measured, at most
MIB = 1 << 20


@dataclass(frozen=True)
class Scoring:
    """What `predict` took for `images` files.

    Attributes:
        seconds: from the start of its process to its end.
        cpu_seconds: of all its threads.
        peak_memory: MiB of resident memory.
        model_rate: images a second of the model on decoded images.
        model_cpu_seconds: of all its threads, for one image.
    """

    images: int
    threads: int
    seconds: float
    cpu_seconds: float
    peak_memory: float
    model_rate: float
    model_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Images a second, everything included."""
        return self.images / self.seconds

    @property
    def share(self) -> float:
        """Of the model's own rate."""
        return self.rate / self.model_rate

    @property
    def cpu_share(self) -> float:
        """Of the CPU time, what the model takes; a busy machine changes it less than the rates."""
        return self.model_cpu_seconds * self.images / self.cpu_seconds

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "rate": self.rate, "share": self.share, "cpu_share": self.cpu_share}

    def sentence(self) -> str:
        """For a person."""
        return (
            f"{self.images} files of {SIDE} px by {self.threads} threads: {self.seconds:.1f} s, {self.rate:.1f} images "
            f"a second, {100 * self.share:.0f} % of the model's own {self.model_rate:.1f}; {self.cpu_seconds:.1f} s of "
            f"CPU time, {100 * self.cpu_share:.0f} % of it the model's; peak memory {self.peak_memory:.0f} MiB."
        )


def measure_scoring(model: Path, images: int = 10_000, threads: int = 2) -> Scoring:
    """
    Raises:
        RunError: `predict` failed, or left images out.
        Others as from `AnomalyDetector.load`.
    """
    torch.set_num_threads(threads)
    detector = AnomalyDetector.load(model, "cpu", for_scoring=True)
    drawn = [_drawn(index) for index in range(min(images, DRAWN))]
    model_rate, model_cpu_seconds = _model_speed(detector, drawn, min(images, MODEL_IMAGES))
    with tempfile.TemporaryDirectory(prefix="altub-bench-") as folder:
        _write(Path(folder) / "in", drawn, images)
        arguments = (f"{folder}/in", "--model", str(model), "--output", f"{folder}/out", "--device", "cpu")
        plain = ("--overlays", "none", "--maps", "none", "--no-masks")
        environment = {"OMP_NUM_THREADS": str(threads)}
        began = time.perf_counter()
        process = spawn("altub", "predict", *arguments, *plain, environment=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)  # what this child used, not all children
        seconds, process.returncode = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
        table = Path(folder) / "out" / "predictions.csv"
        if process.returncode or table.read_bytes().count(b"\n") != images + 1:
            raise RunError("`predict` did not score every image: run it by itself to see why.")
    return Scoring(
        images=images,
        threads=threads,
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_memory=usage.ru_maxrss * 1024 / MIB,
        model_rate=model_rate,
        model_cpu_seconds=model_cpu_seconds,
    )


def _drawn(index: int) -> Image.Image:
    return render_example("fabric", index=index).image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def _write(folder: Path, drawn: list[Image.Image], images: int) -> None:
    folder.mkdir()
    for index in range(images):
        path, first = folder / f"{index:06d}.png", folder / f"{index % len(drawn):06d}.png"
        if path == first:
            drawn[index].save(path)
            continue
        try:
            os.link(first, path)
        except OSError:  # a file system without links, or with few to one file
            shutil.copy(first, path)


def _model_speed(detector: AnomalyDetector, drawn: list[Image.Image], images: int) -> tuple[float, float]:
    """Images a second, and CPU seconds of an image."""
    chunks = [
        [drawn[index % len(drawn)] for index in range(start, min(start + CHUNK_IMAGES, images))]
        for start in range(0, images, CHUNK_IMAGES)
    ]
    detector.raw_maps(chunks[0])  # the first call sets things up
    began, cpu_began = time.perf_counter(), time.process_time()
    for _ in run_in_order(detector.raw_maps, chunks, threads=threads_for(detector.device)):
        pass
    return images / (time.perf_counter() - began), (time.process_time() - cpu_began) / images
