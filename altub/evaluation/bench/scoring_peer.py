"""Scoring beside a peer: from image files in memory to their maps and scores, ours and anomalib's FastFlow.

Both have the same backbone with the same weights, the same image size, the same cores and fp32, which is what scoring
always has here, and each has a process that stays. They take turns, in changing order, and medians of their seconds are
compared: one image by itself, and batches. Ours gets a saved model and does all that `predict` does of an image but to
write files: it checks the file, decodes, compares the image with the training images, and gives map, score and p-value.
The peer's flow has random weights, which cost the same as trained ones.

A batch of ours goes through threads as in `predict`, in parts; the peer's is one batch on all cores, decoded in as many
threads. Seconds of CPU time, which a busy machine changes less, are told beside the seconds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import torch

from altub.data.images.reading import CHUNK_IMAGES
from altub.data.sample import render_example
from altub.device import keep_freed_memory
from altub.errors import ConfigError, RunError
from altub.evaluation.bench.quality import PEER_SCRIPT, parsed, peer_backbone
from altub.files import printable
from altub.inference.detector import AnomalyDetector
from altub.inference.model_files import read_config
from altub.inference.pipeline import run_in_order, threads_for
from altub.runs.launchers.process import spawn

__all__ = ["InferenceBench"]

BATCHES = (1, 8, 16, 32)  # images
DRAWN, SIDE, QUALITY = max(BATCHES), 512, 92  # files, their width and height in pixels, JPEG
TARGETS = {1: 0.5, 8: 1 / 3, 16: 1 / 3, 32: 1 / 3}  # of the peer's seconds, at most, by images


@dataclass(frozen=True, kw_only=True)
class InferenceBench:
    """Measures ours and, with `peer_python`, the peer.

    Args:
        model: folder of a saved model of ours; image size and backbone of both are its.
        peer_python: a Python with anomalib.
        peer_script: what that Python runs.
        repeats: turns of which the medians are taken, after one that is not measured.

    Raises:
        ConfigError: (from `run`) the peer does not have this backbone, or its weights are no file on this machine.
        ModelError: (from `run`) there is no usable model.
        RunError: (from `run`) a side failed.
    """

    model: Path
    threads: int = 2
    repeats: int = 7
    peer_python: Path | None = None
    peer_script: Path = PEER_SCRIPT
    tell: Callable[[str], None] = lambda line: None

    def run(self) -> dict[str, Any]:
        """What was measured, as plain values: seconds and CPU seconds of both sides by number of images, ratios ours /
        peer, and whether they are within `TARGETS`."""
        config = read_config(self.model).detector
        with tempfile.TemporaryDirectory(prefix="altub-bench-") as name, ExitStack() as stack:
            files = _write(Path(name))
            job: dict[str, Any] = {"files": files, "threads": self.threads}
            sides = {"ours": self._ours(stack, job | {"model": str(self.model)})}
            if self.peer_python is not None:
                backbone, weights = peer_backbone(config.backbone)
                about = {"image_size": config.image_size, "backbone": backbone, "weights": str(weights)}
                sides["peer"] = self._peer(stack, job | about)
            rows = [self._measure(sides, images) for images in BATCHES]
        about = {"backbone": config.backbone, "image_size": config.image_size, "threads": self.threads}
        return {**about, "precision": "fp32", "repeats": self.repeats, "file": f"JPEG, {SIDE} px", "rows": rows}

    def _measure(self, sides: dict[str, _Side], images: int) -> dict[str, Any]:
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        cpu: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(self.repeats + 1):
            for name in sorted(sides, reverse=bool(turn % 2)):
                told = sides[name].ask(images)
                if turn:  # the first one sets things up
                    seconds[name].append(told["seconds"])
                    cpu[name].append(told["cpu"])
        row: dict[str, Any] = {"images": images, "ratio": None, "cpu_ratio": None, "target": TARGETS[images]}
        for name in sides:
            row[name] = {"seconds": statistics.median(seconds[name]), "cpu_seconds": statistics.median(cpu[name])}
            row[name]["images_per_second"] = images / row[name]["seconds"]
        row.setdefault("peer", None)
        if row["peer"] is not None:
            row["ratio"] = row["ours"]["seconds"] / row["peer"]["seconds"]
            row["cpu_ratio"] = row["ours"]["cpu_seconds"] / row["peer"]["cpu_seconds"]
        row["reached"] = None if row["ratio"] is None else row["ratio"] <= row["target"]
        self.tell(_line(row))
        return row

    def _ours(self, stack: ExitStack, job: dict[str, Any]) -> _Side:
        environment = {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"}  # as of the command line
        return stack.enter_context(
            _Side("Ours", job, lambda **pipes: spawn(__name__, environment=environment, **pipes))
        )

    def _peer(self, stack: ExitStack, job: dict[str, Any]) -> _Side:
        command = [str(self.peer_python), "-I", str(self.peer_script)]  # -I: finds nothing of ours
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        environment.pop("OMP_WAIT_POLICY", None)  # our command line has set it: the peer has its default

        def start(**pipes: Any) -> subprocess.Popen[str]:
            try:
                return subprocess.Popen(command, env=environment, **pipes)
            except OSError as error:
                raise ConfigError(f"{self.peer_python} cannot be started: give a Python with anomalib.") from error

        return stack.enter_context(_Side("The peer", job, start))


def _line(row: dict[str, Any]) -> str:
    """For a person."""
    ours, peer = row["ours"], row["peer"]
    line = f"{row['images']:>3} images: ours {ours['seconds'] * 1e3:.1f} ms"
    if peer is None:
        return line
    reached = "reached" if row["reached"] else "not reached"
    return (
        f"{line}, peer {peer['seconds'] * 1e3:.1f} ms, ratio {row['ratio']:.2f} (CPU time {row['cpu_ratio']:.2f}), "
        f"target {row['target']:.2f} {reached}"
    )


class _Side:
    """A process that scores: a line in says how many images, a line out how long it took.

    Raises:
        RunError: it ended.
    """

    def __init__(self, who: str, job: dict[str, Any], start: Callable[..., subprocess.Popen[str]]) -> None:
        self.who, self.job, self.start = who, job, start

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._errors: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
            self._process = self.start(text=True, **pipes)
            stack.callback(self._end)
            self._tell(self.job)
            self._heard("ready")
            self._kept = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def _end(self) -> None:
        with suppress(BrokenPipeError):  # it has ended by itself
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def ask(self, images: int) -> dict[str, Any]:
        """Seconds of so many images."""
        self._tell({"images": images})
        told = self._heard("scored")
        if told["images"] != images:
            raise RunError(f"{self.who} scored {told['images']} of {images} images.")
        return told

    def _tell(self, values: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # it has ended; there will be no answer
            self._process.stdin.write(json.dumps(values) + "\n")
            self._process.stdin.flush()

    def _heard(self, kind: str) -> dict[str, Any]:
        for line in self._process.stdout:
            if (told := parsed(line)).get("kind") == kind:
                return told
        code = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise RunError(f"{self.who} failed: {printable(last) or f'exit code {code}'}.")


def _write(folder: Path) -> list[str]:
    """The files that both score."""
    paths = [folder / f"{index:03d}.jpg" for index in range(DRAWN)]
    for index, path in enumerate(paths):
        render_example("fabric", index=index).image.convert("RGB").resize((SIDE, SIDE)).save(path, quality=QUALITY)
    return [str(path) for path in paths]


def _serve() -> None:
    """Our side."""
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    keep_freed_memory()
    detector = AnomalyDetector.load(job["model"], "cpu", for_scoring=True)
    files = [Path(path).read_bytes() for path in job["files"]]
    print(json.dumps({"kind": "ready"}), flush=True)
    for line in sys.stdin:
        given = files[: json.loads(line)["images"]]
        began, cpu_began = time.perf_counter(), time.process_time()
        found = _predict(detector, given)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        print(json.dumps({"kind": "scored", "images": len(found), "seconds": seconds, "cpu": cpu}), flush=True)


def _predict(detector: AnomalyDetector, files: list[bytes]) -> list[float]:
    """One image on all cores; several in parts side by side, as `predict` does."""
    if len(files) == 1:
        return [detector.predict(files[0]).score]
    size = min(-(-len(files) // torch.get_num_threads()), CHUNK_IMAGES)
    parts = [files[start : start + size] for start in range(0, len(files), size)]

    def scores(part: list[bytes]) -> list[float]:
        return [prediction.score for prediction in detector.predict_many(part)]

    done = run_in_order(scores, parts, threads=threads_for(detector.device))
    return [score for _, part in done for score in part]


if __name__ == "__main__":
    _serve()
