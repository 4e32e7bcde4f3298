"""How fast we are: our coupling step and training epoch beside what is published, at equal mathematics, in one run.

* A step: `AffineCoupling`, FrEIA's `AllInOneBlock` and the peer's copy of it with the same weights, forward and
  backward, on the shapes of FastFlow's two CNNs. The convolutions of the subnets are the same on all sides: where they
  dominate (3x3), little can be gained.
* An epoch: the published loop decodes the images and runs the frozen backbone in every epoch, and stacks
  `AllInOneBlock`s; ours trains on cached features. Same flow, same norm, same loss, same optimiser, fp32. The peer,
  anomalib, trains as the published loop does; its loop is the plain one, without Lightning.

Each side has a process of its own and runs as it does in use: ours as `python -m altub train` sets itself up and works
through a batch in pieces, the others with PyTorch's defaults and the batch in one piece. That also gives the peak
memory. A further one of ours trains as by default: on features that have passed their norm, in the precision of "auto".

All take turns within each repeat, so that a busy machine disturbs all, and medians are compared. A turn of steps begins
with one that is not measured: in training, too, one step follows the other. Only the ratios mean something. The
backbone has random weights here: they cost the same as pretrained ones.

The roofline is the rate at which this device multiplies large matrices, in the precision of a side, measured between
the turns; a side's share of it is the time that its own convolutions would take at that rate, of the time it took.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from altub.data.sample import render_example
from altub.device import choose_device
from altub.evaluation.bench.clock import Taken, about_device, roofline_share
from altub.evaluation.bench.side import PEER_SCRIPT, Side, our_side, peer_side
from altub.evaluation.bench.step_sides import as_freia, coupling, random_backbone, same_pyramid
from altub.training.features import feature_shapes

__all__ = ["OURS", "STEPS", "StepBench"]

Shapes = tuple[tuple[int, int], ...]  # channels and side of each scale

# Backbone: images a step (32 is the published batch; wide_resnet50_2's tensors are four times as large), shapes.
STEPS: Mapping[str, tuple[int, Shapes]] = {
    "resnet18": (32, ((64, 64), (128, 32), (256, 16))),
    "wide_resnet50_2": (8, ((256, 64), (512, 32), (1024, 16))),
}
LONG_TRAINING = 30  # epochs over which the cost of caching is spread
OURS = ("ours", "ours_default")


@dataclass(frozen=True, kw_only=True)
class StepBench:
    """Measures ours and the published loop, and with `peer_python` anomalib.

    Args:
        device: "auto" takes a GPU where there is one.
        images, batch, image_size: of an epoch; a batch of 32 is the published one.
        steps: by name, the images of a coupling step and its shapes.
        peer_python: a Python with anomalib.
        peer_script: what that Python runs.

    Raises:
        ConfigError: (from `run`) there is no such device, or the peer's Python cannot be started.
        RunError: (from `run`) a side failed.
    """

    repeats: int = 7
    threads: int = 2
    device: str = "auto"
    images: int = 64
    batch: int = 32
    image_size: int = 256
    steps: Mapping[str, tuple[int, Shapes]] = field(default_factory=lambda: STEPS)
    peer_python: Path | None = None
    peer_script: Path = PEER_SCRIPT

    def run(self) -> dict[str, Any]:
        """What was measured, as plain values: `steps` and `epoch`, each with the sides "ours", "published" and, or
        None, "peer"; an epoch also with "ours_default". Ratios are theirs / ours."""
        torch.set_num_threads(self.threads)
        device = choose_device(self.device)
        with tempfile.TemporaryDirectory(prefix="altub-bench-") as name, ExitStack() as stack:
            folder = Path(name)
            sides = self._sides(stack, folder, device)
            epoch = self._epoch(sides, device)  # first: a process's peak memory only ever grows
            del sides["ours_default"]
            steps = [self._couplings(sides, folder, backbone) for backbone in self.steps]
        about = {**about_device(device, self.threads), "repeats": self.repeats}
        return {**about, "steps": steps, "epoch": epoch}

    def _sides(self, stack: ExitStack, folder: Path, device: torch.device) -> dict[str, Side]:
        """By name; each has been told its job and is ready."""
        job: dict[str, Any] = {"folder": str(folder), "threads": self.threads, "device": str(device)}
        job |= {"image_size": self.image_size, "batch": self.batch, "images": self._write_images(folder)}
        module = "altub.evaluation.bench.step_sides"
        sides = {
            "ours": our_side("Ours", module, job | {"side": "ours"}, self.threads),
            "ours_default": our_side("Ours", module, job | {"side": "ours_default"}, self.threads),
            "published": our_side(
                "The published loop", module, job | {"side": "published"}, self.threads, wait_policy=None
            ),
        }
        if self.peer_python is not None:
            job |= {"backbone": "resnet18", **self._write_weights(folder)}
            sides["peer"] = peer_side(self.peer_python, self.peer_script, job, self.threads)
        # One after the other, since caching is timed; the peer first, which is the one that may be missing.
        for side in reversed(sides.values()):
            stack.enter_context(side).ready()
        return sides

    def _write_images(self, folder: Path) -> list[str]:
        paths = [folder / f"{index:03d}.png" for index in range(self.images)]
        for index, path in enumerate(paths):
            render_example("fabric", index=index, split="train").image.save(path)
        return [str(path) for path in paths]

    def _write_weights(self, folder: Path) -> dict[str, str]:
        """Files with the initial weights, by what the peer calls them."""
        backbone = random_backbone(self.image_size)
        pyramid = same_pyramid(feature_shapes(backbone, self.image_size, torch.device("cpu")))
        flow = {
            f"{scale}.module_list.{step}.{name}": value
            for scale, (head, shape) in enumerate(zip(pyramid.heads, pyramid.shapes, strict=True))
            for step, block in enumerate(head.flow)
            for name, value in _state(as_freia(block, shape[1])).items()
        }
        paths = {name: folder / f"{name}.safetensors" for name in ("weights", "flow")}
        save_file(backbone.network.model.state_dict(), paths["weights"])
        save_file(flow, paths["flow"])
        return {name: str(path) for name, path in paths.items()}

    def _epoch(self, sides: dict[str, Side], device: torch.device) -> dict[str, Any]:
        precisions = {side.about["precision"] for side in sides.values()}
        rates = dict.fromkeys(sorted(precisions), 0.0)
        told: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for _ in range(self.repeats + 1):
            for name, side in sides.items():
                told[name].append(side.ask("done", order="epoch"))
            for precision, rate in rates.items():
                rates[precision] = max(rate, sides["ours"].ask("done", order="rate", precision=precision)["rate"])
        found: dict[str, Any] = {"images": self.images, "batch": self.batch, "image_size": self.image_size}
        found |= {"backbone": "resnet18", "matmul_rates": rates, "long_training": LONG_TRAINING}
        for name, side in sides.items():
            first, *turns = told[name]  # the first one sets things up
            flops, precision = side.about["flops"] * self.images, side.about["precision"]
            taken = _median(turns)
            found[name] = {
                **vars(taken),
                "images_per_second": self.images / taken.seconds,
                "precision": precision,
                "flops": flops,
                "roofline_share": roofline_share(flops, rates[precision], taken, device.type),
                "peak_memory_mib": turns[-1]["peak_memory"],
                "caching_seconds": side.about["caching_seconds"],
                "with_caching": taken.seconds + side.about["caching_seconds"] / LONG_TRAINING,
                "losses": first["losses"],
            }
        found.setdefault("peer", None)
        found["ratios"] = {
            ours: {name: _epoch_ratios(found[ours], found[name]) for name in ("published", "peer")} for ours in OURS
        }
        found["loss_difference"] = {
            name: found[name] and _difference(found["ours"]["losses"], found[name]["losses"])
            for name in ("published", "peer")
        }
        return found

    def _couplings(self, sides: dict[str, Side], folder: Path, backbone: str) -> dict[str, Any]:
        images, shapes = self.steps[backbone]
        rows = [
            self._coupling(sides, folder, {"images": images, "channels": channels, "side": side, "kernel": kernel})
            for channels, side in shapes
            for kernel in (3, 1)
        ]
        sums = {name: _sum([row[name] for row in rows]) if name in sides else None for name in (*sides, "peer")}
        every = {**sums, "ratios": {name: _ratios(sums["ours"], sums[name]) for name in ("published", "peer")}}
        return {"backbone": backbone, "images": images, "rows": rows, "all": every}

    def _coupling(self, sides: dict[str, Side], folder: Path, order: dict[str, int]) -> dict[str, Any]:
        weights = folder / "block.safetensors"
        if "peer" in sides:
            block = coupling(order["channels"], order["side"], order["kernel"])
            save_file(_state(as_freia(block, order["side"])), weights)
        told: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for _ in range(self.repeats + 1):
            for name, side in sides.items():
                told[name].append(side.ask("done", order="step", **order, weights=str(weights)))
        row: dict[str, Any] = {**order, "peer": None}
        losses = {name: turns[0]["loss"] for name, turns in told.items()}
        row |= {name: vars(_median(turns[1:])) for name, turns in told.items()}
        row["ratios"] = {name: _ratios(row["ours"], row[name]) for name in ("published", "peer")}
        row["loss_difference"] = {
            name: None if row[name] is None else _difference([losses["ours"]], [losses[name]])
            for name in ("published", "peer")
        }
        return row


def _state(block: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone().contiguous() for name, value in block.state_dict().items()}


def _median(turns: list[dict[str, Any]]) -> Taken:
    return Taken(*(statistics.median(turn[name] for turn in turns) for name in ("seconds", "cpu_seconds")))


def _sum(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) for name in ("seconds", "cpu_seconds")}


def _ratios(ours: dict[str, float], theirs: dict[str, float] | None) -> dict[str, float] | None:
    return theirs and {name: theirs[name] / ours[name] for name in ("seconds", "cpu_seconds")}


def _epoch_ratios(ours: dict[str, Any], theirs: dict[str, Any] | None) -> dict[str, float] | None:
    found = _ratios(ours, theirs)
    return found and {
        **found,
        "with_caching": theirs["seconds"] / ours["with_caching"],
        "peak_memory": theirs["peak_memory_mib"] / ours["peak_memory_mib"],
    }


def _difference(ours: list[float], theirs: list[float]) -> float:
    """The largest of the losses, relative."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
