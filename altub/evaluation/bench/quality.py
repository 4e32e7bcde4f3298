"""A training to equal quality: how long until ours, and how long until anomalib's FastFlow, is as good.

Both train on the same images at the same size with the same pretrained backbone, on the same cores in fp32, one after
the other, each in a process of its own. As good means the pixel AUROC on the test set that the peer ends at, and, as a
second target, the best of all its epochs, which only the test set can choose; a side's time is that of its first epoch
that reaches it. The clock is this process's: it starts where the other process is started, and holds imports, decoding,
the extraction of features, training and the evaluation after every epoch. How much of it imports and evaluations were
is told beside it, and so are the seconds of CPU time, which a busy machine changes less.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from altub.data import Category, load_category
from altub.errors import ConfigError, DataError, RunError
from altub.files import printable
from altub.runs.launchers.process import spawn
from altub.settings import weights_root

__all__ = ["PEER_SCRIPT", "Epoch", "QualityBench", "Side", "parsed", "peer_backbone", "targets"]

PEER_SCRIPT = Path(__file__).with_name("peer.py")
PEER_BACKBONES = ("resnet18", "wide_resnet50_2")  # of anomalib's FastFlow, at any image size


@dataclass(frozen=True)
class Epoch:
    """Where a training was at the end of an epoch; 0 is before the first step.

    Attributes:
        pixel_auroc: on the test set.
        seconds: since its process was started.
        evaluating: seconds of them in evaluations.
        cpu_seconds: of all its threads.
    """

    epoch: int
    pixel_auroc: float
    seconds: float
    evaluating: float
    cpu_seconds: float


@dataclass(frozen=True)
class Side:
    """One training.

    Attributes:
        imports: seconds from the start of its process to the end of its imports.
    """

    imports: float
    epochs: tuple[Epoch, ...]

    def reached(self, auroc: float) -> Epoch | None:
        """The first epoch that is as good; None where none is."""
        return next((epoch for epoch in self.epochs if epoch.pixel_auroc >= auroc), None)


@dataclass(frozen=True, kw_only=True)
class QualityBench:
    """Trains ours and, with `peer_python`, the peer; without one the targets are our own last and best epoch.

    Args:
        data, category, backbone, image_size, epochs: settings of our training, which has the defaults for all others.
        peer_python: a Python with anomalib.
        peer_epochs: of the peer.
        peer_script: what that Python runs.
        tell: called with a line for every epoch as it ends.

    Raises:
        DataError: (from `run`) the test set has no masks, or a file of it is no file of its own.
        ConfigError: (from `run`) the peer does not have this backbone, or its weights are no file on this machine.
        RunError: (from `run`) a side failed.
    """

    category: str
    data: str = "sample"
    backbone: str = "resnet18.tv_in1k"
    image_size: int = 128
    epochs: int | None = None
    threads: int = 2
    seed: int = 0
    peer_python: Path | None = None
    peer_epochs: int = 8
    peer_script: Path = PEER_SCRIPT
    tell: Callable[[str], None] = lambda line: None

    def run(self) -> dict[str, Any]:
        """What was measured, as plain values: both sides, the targets, and where each side reached them."""
        category = load_category(self.data, self.category)
        if not any(sample.has_mask for sample in category.test):
            raise DataError(f"Category {self.category} has no masks, so there is no pixel AUROC to reach.")
        peer = None if self.peer_python is None else self._run_peer(self._peer_job(category))
        ours = self._run_ours()
        settings = ("data", "category", "backbone", "image_size", "threads", "seed")
        return {
            **{name: getattr(self, name) for name in settings},
            "targets": targets(ours, peer),
            "ours": asdict(ours),
            "peer": peer and asdict(peer),
        }

    def _run_ours(self) -> Side:
        settings = {
            "data": self.data,
            "category": self.category,
            "backbone": self.backbone,
            "image_size": self.image_size,
            "seed": self.seed,
            "device": "cpu",
            "precision": "fp32",
            **({} if self.epochs is None else {"epochs": self.epochs}),
        }
        with tempfile.TemporaryDirectory(prefix="altub-bench-") as folder:
            job = {"run": f"{folder}/run", "settings": settings, "threads": self.threads}
            with open(f"{folder}/errors", "w+b") as errors:
                began = time.monotonic()
                environment = {"OMP_WAIT_POLICY": "PASSIVE", **self._environment()}
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
                process = spawn("altub.evaluation.bench.trainer", environment=environment, **pipes)
                return _follow("Our training", process, began, job, errors, self.tell)

    def _peer_job(self, category: Category) -> dict[str, Any]:
        """What the peer is told."""
        backbone, weights = peer_backbone(self.backbone)
        samples = [*category.train, *category.test]
        if any(sample.image is not None or sample.mask is not None for sample in samples):
            raise DataError(f"Category {self.category} is not made of image files, which is what the peer reads.")
        return {
            "train": [str(sample.path) for sample in category.train],
            "test": [
                [str(sample.path), sample.mask_path and str(sample.mask_path)]
                for sample in category.test
                if sample.has_mask or not sample.is_defective
            ],
            "image_size": self.image_size,
            "epochs": self.peer_epochs,
            "threads": self.threads,
            "backbone": backbone,
            "weights": str(weights),
            "seed": self.seed,
        }

    def _run_peer(self, job: dict[str, Any]) -> Side:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [str(self.peer_python), "-I", str(self.peer_script)]  # -I: finds nothing of ours
        with tempfile.TemporaryFile() as errors:
            began = time.monotonic()
            try:
                process = subprocess.Popen(command, stderr=errors, env={**os.environ, **self._environment()}, **pipes)
            except OSError as error:
                raise ConfigError(f"{self.peer_python} cannot be started: give a Python with anomalib.") from error
            return _follow("The peer", process, began, job, errors, self.tell)

    def _environment(self) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(self.threads)}


def peer_backbone(name: str) -> tuple[str, Path]:
    """The peer's name of a backbone of ours, and the file with its weights.

    Raises:
        ConfigError: the peer does not have it, or its weights are no file on this machine.
    """
    backbone = name.partition(".")[0]
    if backbone not in PEER_BACKBONES:
        raise ConfigError(f"The peer has no backbone {name!r}: use one of {', '.join(PEER_BACKBONES)}.")
    weights = None if weights_root() is None else weights_root() / f"{name}.safetensors"
    if weights is None or not weights.is_file():
        raise ConfigError(
            f"The peer needs the weights as a file: set ALTUB_WEIGHTS to a folder with {name}.safetensors."
        )
    return backbone, weights


def _follow(
    who: str,
    process: subprocess.Popen[str],
    began: float,
    job: dict[str, Any],
    errors: IO[bytes],
    tell: Callable[[str], None],
) -> Side:
    """Tells a process its job and stamps the lines that it prints, to its end."""
    imports, epochs = 0.0, []
    with process:
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended; its exit code says so below
        for line in process.stdout:
            told, now = parsed(line), time.monotonic() - began
            if told.get("kind") == "imported":
                imports = now
            elif told.get("kind") == "epoch" and told["pixel_auroc"] is not None:
                epoch = Epoch(told["epoch"], told["pixel_auroc"], now, told["evaluating"], told["cpu_seconds"])
                epochs.append(epoch)
                tell(f"{who}: epoch {epoch.epoch}, pixel AUROC {epoch.pixel_auroc:.4f}, {now:.1f} s")
    if process.returncode or not epochs:
        errors.seek(0)
        last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise RunError(f"{who} failed: {printable(last) or f'exit code {process.returncode}'}.")
    return Side(imports, tuple(epochs))


def parsed(line: str) -> dict[str, Any]:
    """The values of a line; none of one that a library printed."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def targets(ours: Side, peer: Side | None) -> dict[str, Any]:
    """Of the "last" and the "best" epoch of the peer, or of ours without one: the pixel AUROC, the first epoch of each
    side that reached it, and the ratios of what that took, peer / ours; None where a side did not reach it."""
    to_reach = [epoch.pixel_auroc for epoch in (ours if peer is None else peer).epochs]
    found = {}
    for name, auroc in (("last", to_reach[-1]), ("best", max(to_reach))):
        a, b = ours.reached(auroc), peer and peer.reached(auroc)
        found[name] = {
            "pixel_auroc": auroc,
            "reached": {"ours": a and asdict(a), "peer": b and asdict(b)},
            "ratios": None if peer is None or a is None or b is None else _ratios(ours, peer, a, b),
        }
    return found


def _ratios(ours: Side, peer: Side, a: Epoch, b: Epoch) -> dict[str, float]:
    return {
        "seconds": b.seconds / a.seconds,
        "without_imports": (b.seconds - peer.imports) / (a.seconds - ours.imports),
        "without_imports_and_evaluations": (
            (b.seconds - peer.imports - b.evaluating) / (a.seconds - ours.imports - a.evaluating)
        ),
        "cpu_seconds": b.cpu_seconds / a.cpu_seconds,
    }
