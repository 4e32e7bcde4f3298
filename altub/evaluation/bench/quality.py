"""A training to equal quality: how long until ours, and how long until anomalib's FastFlow, is as good.

Both train on the same images at the same size with the same pretrained backbone, on the same cores in fp32, one after
the other, each in a process of its own. As good means the pixel AUROC on the test set that the peer ends at, and, as a
second target, the best of all its epochs, which only the test set can choose; a side's time is that of its first epoch
that reaches it. The clock is this process's: it starts where the other process is started, and holds imports, decoding,
the extraction of features, training and the evaluation after every epoch. How much of it imports and evaluations were
is told beside it, and so are the seconds of CPU time, which a busy machine changes less.

Of the epochs after a side's first one, without evaluations, the images a second are told, and the share of the
roofline: the time that the convolutions of these epochs would take at the rate at which this device multiplies large
matrices, measured after our training.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from altub.data import Category, load_category
from altub.device import choose_device
from altub.errors import DataError
from altub.evaluation.bench.clock import Taken, about_device, roofline_share
from altub.evaluation.bench.side import PEER_SCRIPT, Side, our_side, peer_backbone, peer_side

__all__ = ["Epoch", "QualityBench", "Training", "targets"]


@dataclass(frozen=True)
class Epoch:
    """Where a training was at the end of an epoch; 0 is before the first step.

    Attributes:
        pixel_auroc: on the test set.
        seconds: since its process was started.
        evaluating: seconds of them in evaluations.
        cpu_seconds: of all its threads.
        evaluating_cpu: seconds of them in evaluations.
    """

    epoch: int
    pixel_auroc: float
    seconds: float
    evaluating: float
    cpu_seconds: float
    evaluating_cpu: float


@dataclass(frozen=True)
class Training:
    """One side's.

    Attributes:
        imports: seconds from the start of its process to the end of its imports.
        images_per_second: of its epochs from the end of the first one that it told of, without evaluations; None of a
            single epoch, as `roofline_share`.
        flops: operations of the convolutions that it computes for an image of an epoch.
        matmul_rate: operations a second of a large matrix product; None where it did not measure it.
    """

    imports: float
    epochs: tuple[Epoch, ...]
    flops: int
    train_images: int
    images_per_second: float | None
    matmul_rate: float | None = None
    roofline_share: float | None = None

    def with_roofline(self, rate: float, device_type: str) -> Training:
        """With its share of this rate."""
        if (taken := _steps_taken(self.epochs)) is None:
            return self
        flops = self.flops * self.train_images * (self.epochs[-1].epoch - self.epochs[0].epoch)
        return replace(self, roofline_share=roofline_share(flops, rate, taken, device_type))

    def reached(self, auroc: float) -> Epoch | None:
        """The first epoch that is as good; None where none is."""
        return next((epoch for epoch in self.epochs if epoch.pixel_auroc >= auroc), None)


@dataclass(frozen=True, kw_only=True)
class QualityBench:
    """Trains ours and, with `peer_python`, the peer; without one the targets are our own last and best epoch.

    Args:
        data, category, backbone, image_size, epochs: settings of our training, which has the defaults for all others.
        peer_python: a Python with anomalib.
        device: of both; "auto" takes a GPU where there is one.
        peer_epochs: of the peer.
        peer_script: what that Python runs.
        tell: called with a line for every epoch as it ends.

    Raises:
        DataError: (from `run`) the test set has no masks, or a file of it is no file of its own.
        ConfigError: (from `run`) the peer does not have this backbone, its weights are no file on this machine, or
            there is no such device.
        RunError: (from `run`) a side failed.
    """

    category: str
    data: str = "sample"
    backbone: str = "resnet18.tv_in1k"
    image_size: int = 128
    epochs: int | None = None
    threads: int = 2
    seed: int = 0
    device: str = "auto"
    peer_python: Path | None = None
    peer_epochs: int = 8
    peer_script: Path = PEER_SCRIPT
    tell: Callable[[str], None] = lambda line: None

    def run(self) -> dict[str, Any]:
        """What was measured, as plain values: both sides, the targets, and where each side reached them."""
        category = load_category(self.data, self.category)
        if not any(sample.has_mask for sample in category.test):
            raise DataError(f"Category {self.category} has no masks, so there is no pixel AUROC to reach.")
        device = choose_device(self.device)
        peer = None
        if self.peer_python is not None:
            job = self._peer_job(category, str(device))
            peer = self._follow(peer_side(self.peer_python, self.peer_script, job, self.threads))
        ours = self._run_ours(str(device))
        rate = ours.matmul_rate
        ours, peer = ours.with_roofline(rate, device.type), peer and peer.with_roofline(rate, device.type)
        settings = ("data", "category", "backbone", "image_size", "seed")
        return {
            **{name: getattr(self, name) for name in settings},
            **about_device(device, self.threads),
            "precision": "fp32",
            "targets": targets(ours, peer),
            "ours": asdict(ours),
            "peer": peer and asdict(peer),
        }

    def _run_ours(self, device: str) -> Training:
        settings = {
            "data": self.data,
            "category": self.category,
            "backbone": self.backbone,
            "image_size": self.image_size,
            "seed": self.seed,
            "device": device,
            "precision": "fp32",
            **({} if self.epochs is None else {"epochs": self.epochs}),
        }
        with tempfile.TemporaryDirectory(prefix="altub-bench-") as folder:
            job = {"run": f"{folder}/run", "settings": settings, "threads": self.threads}
            return self._follow(our_side("Our training", "altub.evaluation.bench.trainer", job, self.threads))

    def _peer_job(self, category: Category, device: str) -> dict[str, Any]:
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
            "device": device,
            "backbone": backbone,
            "weights": str(weights),
            "seed": self.seed,
        }

    def _follow(self, started: Side) -> Training:
        """Stamps what a side tells, to its end."""
        imports, epochs, about = 0.0, [], {}
        with started as side:
            for told in side.answers():
                now = time.monotonic() - side.began
                if told["kind"] == "imported":
                    imports = now
                elif told["kind"] == "about":
                    about |= {name: told[name] for name in ("flops", "train_images", "matmul_rate") if name in told}
                elif told["kind"] == "epoch" and told["pixel_auroc"] is not None:
                    values = {name: told[name] for name in ("epoch", "pixel_auroc", "evaluating", "evaluating_cpu")}
                    epochs.append(Epoch(seconds=now, cpu_seconds=told["cpu_seconds"], **values))
                    self.tell(f"{side.who}: epoch {told['epoch']}, pixel AUROC {told['pixel_auroc']:.4f}, {now:.1f} s")
            if not epochs:
                raise side.failure()
        taken = _steps_taken(epochs)
        images = about["train_images"] * (epochs[-1].epoch - epochs[0].epoch)
        return Training(imports, tuple(epochs), images_per_second=taken and images / taken.seconds, **about)


def _steps_taken(epochs: Sequence[Epoch]) -> Taken | None:
    """Between the ends of the first and the last epoch, without evaluations."""
    first, last = epochs[0], epochs[-1]
    if first is last:
        return None
    return Taken(
        last.seconds - last.evaluating - (first.seconds - first.evaluating),
        last.cpu_seconds - last.evaluating_cpu - (first.cpu_seconds - first.evaluating_cpu),
    )


def targets(ours: Training, peer: Training | None) -> dict[str, Any]:
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


def _ratios(ours: Training, peer: Training, a: Epoch, b: Epoch) -> dict[str, float]:
    return {
        "seconds": b.seconds / a.seconds,
        "without_imports": (b.seconds - peer.imports) / (a.seconds - ours.imports),
        "without_imports_and_evaluations": (
            (b.seconds - peer.imports - b.evaluating) / (a.seconds - ours.imports - a.evaluating)
        ),
        "cpu_seconds": b.cpu_seconds / a.cpu_seconds,
    }
