"""Scoring beside a peer: from image files in memory to their maps and scores, ours and anomalib's FastFlow.

Both have the same backbone with the same weights, the same image size, the same cores or GPU and fp32, which is what
scoring always has here, and each has a process that stays. They take turns, in changing order, and medians of their
seconds are compared: one image by itself, and batches. Ours gets a saved model and does all that `predict` does of an
image but to write files: it checks the file, decodes, compares the image with the training images, and gives map, score
and p-value. The peer's flow has random weights, which cost the same as trained ones.

A batch of ours goes through threads as in `predict`, in parts; the peer's is one batch on all cores, decoded in as many
threads. Seconds of CPU time, which a busy machine changes less, are told beside the seconds, and so is the share of the
roofline: the time that a side's convolutions would take at the rate at which this device multiplies large matrices,
measured in our process after the turns.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from altub.data.images.reading import CHUNK_IMAGES
from altub.data.sample import render_example
from altub.device import choose_device, keep_freed_memory
from altub.errors import RunError
from altub.evaluation.bench.clock import Taken, about_device, roofline_share, timed
from altub.evaluation.bench.side import PEER_SCRIPT, Side, our_side, peer_backbone, peer_side
from altub.evaluation.step_time import counted_convolutions, matmul_rate
from altub.inference.detector import AnomalyDetector
from altub.inference.framing import Framing
from altub.inference.model_files import read_config
from altub.inference.pipeline import run_in_order, threads_for

__all__ = ["InferenceBench"]

BATCHES = (1, 8, 16, 32)  # images
DRAWN, SIDE, QUALITY = max(BATCHES), 512, 92  # files, their width and height in pixels, JPEG
TARGETS = {1: 0.5, 8: 1 / 3, 16: 1 / 3, 32: 1 / 3}  # of the peer's seconds, at most, by images


@dataclass(frozen=True, kw_only=True)
class InferenceBench:
    """Measures ours and, with `peer_python`, the peer.

    Args:
        model: folder of a saved model of ours; image size and backbone of both are its.
        device: of both; "auto" takes a GPU where there is one.
        peer_python: a Python with anomalib.
        peer_script: what that Python runs.
        repeats: turns of which the medians are taken, after one that is not measured.

    Raises:
        ConfigError: (from `run`) the peer does not have this backbone, its weights are no file on this machine, or
            there is no such device.
        ModelError: (from `run`) there is no usable model.
        RunError: (from `run`) a side failed.
    """

    model: Path
    threads: int = 2
    repeats: int = 7
    device: str = "auto"
    peer_python: Path | None = None
    peer_script: Path = PEER_SCRIPT
    tell: Callable[[str], None] = lambda line: None

    def run(self) -> dict[str, Any]:
        """What was measured, as plain values: seconds and CPU seconds of both sides by number of images, ratios ours /
        peer, and whether they are within `TARGETS`."""
        config, device = read_config(self.model).detector, choose_device(self.device)
        with tempfile.TemporaryDirectory(prefix="altub-bench-") as name, ExitStack() as stack:
            job: dict[str, Any] = {"files": _write(Path(name)), "threads": self.threads, "device": str(device)}
            sides = {"ours": our_side("Ours", __name__, job | {"model": str(self.model)}, self.threads)}
            if self.peer_python is not None:
                backbone, weights = peer_backbone(config.backbone)
                job |= {"image_size": config.image_size, "backbone": backbone, "weights": str(weights)}
                sides["peer"] = peer_side(self.peer_python, self.peer_script, job, self.threads)
            for side in sides.values():
                stack.enter_context(side).ready()
            rows = [self._measure(sides, images, device) for images in BATCHES]
        about = {"backbone": config.backbone, "image_size": config.image_size, **about_device(device, self.threads)}
        return {**about, "precision": "fp32", "repeats": self.repeats, "file": f"JPEG, {SIDE} px", "rows": rows}

    def _measure(self, sides: dict[str, Side], images: int, device: torch.device) -> dict[str, Any]:
        told: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for turn in range(self.repeats + 1):
            for name in sorted(sides, reverse=bool(turn % 2)):
                answer = sides[name].ask("scored", images=images)
                if answer["images"] != images:
                    raise RunError(f"{sides[name].who} scored {answer['images']} of {images} images.")
                if turn:  # the first one sets things up
                    told[name].append(answer)
        rate = sides["ours"].ask("rate", images=0)["rate"]
        row: dict[str, Any] = {"images": images, "ratio": None, "cpu_ratio": None, "target": TARGETS[images]}
        row |= {"matmul_rate": rate, "peer": None}
        for name, turns in told.items():
            taken = Taken(*(statistics.median(turn[key] for turn in turns) for key in ("seconds", "cpu_seconds")))
            flops = images * sides[name].about["flops"]
            row[name] = {
                **vars(taken),
                "images_per_second": images / taken.seconds,
                "flops": flops,
                "roofline_share": roofline_share(flops, rate, taken, device.type),
            }
        if row["peer"] is not None:
            row["ratio"] = row["ours"]["seconds"] / row["peer"]["seconds"]
            row["cpu_ratio"] = row["ours"]["cpu_seconds"] / row["peer"]["cpu_seconds"]
        row["reached"] = None if row["ratio"] is None else row["ratio"] <= row["target"]
        self.tell(_line(row))
        return row


def _line(row: dict[str, Any]) -> str:
    """For a person."""

    def side(name: str, values: dict[str, float]) -> str:
        rate, share = values["images_per_second"], 100 * values["roofline_share"]
        return f"{name} {values['seconds'] * 1e3:.1f} ms ({rate:.1f} images/s, {share:.0f} % of the roofline)"

    line = f"{row['images']:>3} images: {side('ours', row['ours'])}"
    if row["peer"] is None:
        return line
    reached = "reached" if row["reached"] else "not reached"
    return (
        f"{line}, {side('peer', row['peer'])}, ratio {row['ratio']:.2f} (CPU time {row['cpu_ratio']:.2f}), "
        f"target {row['target']:.2f} {reached}"
    )


def _write(folder: Path) -> list[str]:
    """The files that both score."""
    paths = [folder / f"{index:03d}.jpg" for index in range(DRAWN)]
    for index, path in enumerate(paths):
        render_example("fabric", index=index).image.convert("RGB").resize((SIDE, SIDE)).save(path, quality=QUALITY)
    return [str(path) for path in paths]


def _serve() -> None:
    """Our side: no images ask for the rate of the device."""
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    keep_freed_memory()
    detector = AnomalyDetector.load(job["model"], job["device"], for_scoring=True)
    files = [Path(path).read_bytes() for path in job["files"]]
    _say(kind="ready", flops=_flops(detector))
    for line in sys.stdin:
        given = files[: json.loads(line)["images"]]
        if not given:
            _say(kind="rate", rate=matmul_rate("fp32", device=detector.device))
            continue
        found, taken = timed(lambda given=given: _predict(detector, given), detector.device)
        _say(kind="scored", images=len(found), **vars(taken))


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def _flops(detector: AnomalyDetector) -> int:
    """Operations of the convolutions of an image: backbone and flows, in which their folded form has as many."""
    side, device = Framing.of(detector.config).side, detector.device

    def forward() -> None:
        for head, features in zip(
            detector.pyramid.heads, detector.backbone(torch.zeros(1, 3, side, side, device=device)), strict=True
        ):
            head(features)

    return counted_convolutions(nn.ModuleList([detector.backbone, detector.pyramid.heads]), forward)


def _predict(detector: AnomalyDetector, files: list[bytes]) -> list[float]:
    """One image on all cores; several in parts side by side, as `predict` does."""
    if len(files) == 1:
        return [detector.predict(files[0]).score]
    at_once = torch.get_num_threads() if detector.device.type == "cpu" else 1
    size = min(-(-len(files) // at_once), CHUNK_IMAGES)
    parts = [files[start : start + size] for start in range(0, len(files), size)]

    def scores(part: list[bytes]) -> list[float]:
        return [prediction.score for prediction in detector.predict_many(part)]

    done = run_in_order(scores, parts, threads=threads_for(detector.device))
    return [score for _, part in done for score in part]


if __name__ == "__main__":
    _serve()
