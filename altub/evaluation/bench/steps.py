"""How fast we are: our coupling step and training epoch beside what is published, at equal mathematics, in one run.

* A step: `AffineCoupling` and FrEIA's `AllInOneBlock` with the same weights, forward and backward, on the shapes of
  FastFlow's two CNNs. The convolutions of the subnets are the same on both sides: where they dominate (3x3), little can
  be gained.
* An epoch: the published loop decodes the images and runs the frozen backbone in every epoch, and stacks
  `AllInOneBlock`s; ours trains on cached features. Same flow, same norm, same loss, same optimiser, fp32.

Each side has a process of its own and runs as it does in use: ours as `python -m altub train` sets itself up and works
through a batch in pieces, theirs with PyTorch's defaults and the batch in one piece. That also gives the peak memory.

Both of a pair take turns within each repeat, so that a busy machine disturbs both, and medians are compared. A turn of
steps begins with one that is not measured: in training, too, one step follows the other. Only the ratios mean
something. The backbone has random weights here: they cost the same as pretrained ones.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import FrEIA.framework as Ff
import torch
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn

from altub.backbones import create_backbone
from altub.data import Sample
from altub.data.sample import render_example
from altub.device import Workers, autocast, keep_freed_memory
from altub.flows import AffineCoupling, FlowPyramid
from altub.flows.config import FlowConfig, Norm
from altub.flows.fastflow import convolution_subnet
from altub.flows.head import microbatch_size
from altub.runs.launchers.process import spawn
from altub.training.config import make_config
from altub.training.features import FeatureStore, load_images
from altub.training.precision import choose_precision
from altub.training.steps import Alternation

__all__ = ["run_bench"]

# Backbone: images a step (32 is the published batch; wide_resnet50_2's tensors are four times as large), shapes.
STEPS = {
    "resnet18": (32, ((64, 64), (128, 32), (256, 16))),
    "wide_resnet50_2": (8, ((256, 64), (512, 32), (1024, 16))),
}
EPOCH_IMAGES, EPOCH_BATCH, IMAGE_SIZE = 64, 32, 256  # batch 32 as published
SHAPES = STEPS["resnet18"][1]  # channels and side of the stages at 256 px
STEPS_A_TURN = 3  # measured, after one that is not
LONG_TRAINING = 30  # epochs over which the cost of caching is spread in the last line


def run_bench(repeats: int = 7, threads: int = 2, as_json: bool = False) -> dict[str, Any]:
    """Measures, prints a table (or one JSON line) and returns what it found."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="altub-bench-") as folder, ExitStack() as stack:
        _write_images(Path(folder))
        ours, theirs = (stack.enter_context(_Side(name, folder)) for name in ("ours", "theirs"))
        epoch = _bench_epoch(ours, theirs, repeats)  # first: a process's peak memory only ever grows
        steps = [_bench_steps(ours, theirs, backbone, repeats) for backbone in STEPS]
    result = {"threads": threads, "repeats": repeats, "steps": steps, "epoch": epoch}
    if as_json:
        print(json.dumps(result))
        return result
    print(f"{threads} threads, fp32, medians of {repeats}; ratio = theirs / ours\n")
    for block in steps:
        print(f"coupling step, {block['backbone']}, {block['images']} images".ljust(43) + "ours ms   FrEIA ms   ratio")
        for row in [*block["rows"], {"step": "all six", **block}]:
            print(f"  {row['step']:<38} {row['ours'] * 1e3:>9.1f} {row['theirs'] * 1e3:>10.1f} {row['ratio']:>7.2f}")
        print()
    print(f"training epoch, resnet18, {EPOCH_IMAGES} images          ours  published loop   ratio")
    print(
        f"  seconds                               {epoch['ours']:>8.2f} {epoch['theirs']:>15.2f} {epoch['ratio']:>7.2f}"
    )
    print(
        f"  with caching, over {LONG_TRAINING} epochs           {epoch['ours_long']:>8.2f} {epoch['theirs']:>15.2f} "
        f"{epoch['ratio_long']:>7.2f}"
    )
    usual = [epoch[name] for name in ("ours_default", "theirs_beside_default", "ratio_default")]
    what = f"by default: {epoch['default_precision']}, norm beforehand"
    print(f"  {what:<38}{usual[0]:>8.2f} {usual[1]:>15.2f} {usual[2]:>7.2f}")
    memory = epoch["peak_memory_mib"]
    print(f"  peak memory, MiB                      {memory['ours']:>8.0f} {memory['theirs']:>15.0f}")
    print(f"  largest difference of the two losses, relative: {epoch['loss_difference']:.1e}")
    return result


def _bench_steps(ours: _Side, theirs: _Side, backbone: str, repeats: int) -> dict[str, Any]:
    images, shapes = STEPS[backbone]
    rows = []
    for channels, side in shapes:
        for kernel in (3, 1):
            a, b = _take_turns(ours, theirs, f"step {images} {channels} {side} {kernel}", repeats)
            name = f"{channels} channels, {side} x {side}, {kernel}x{kernel} subnet"
            rows.append({"step": name, "ours": a, "theirs": b, "ratio": b / a})
    sums = {side: sum(row[side] for row in rows) for side in ("ours", "theirs")}
    return {"backbone": backbone, "images": images, "rows": rows, **sums, "ratio": sums["theirs"] / sums["ours"]}


def _coupling(images: int, channels: int, side: int, kernel: int) -> tuple[AffineCoupling, Tensor]:
    """A block and a batch for it, the same in both processes."""
    torch.manual_seed(0)
    block = AffineCoupling([(channels, side, side)], subnet_constructor=convolution_subnet(kernel, 1.0))
    return block, torch.randn(images, channels, side, side)


def _gradients(block: nn.Module, x: Tensor) -> list[Tensor]:
    """Of the sum over the batch of 1/2 |y|^2 - log_det, to the input and all parameters."""
    x = x.detach().requires_grad_()
    (y,), log_det = block((x,))
    trained = [parameter for parameter in block.parameters() if parameter.requires_grad]
    return list(torch.autograd.grad([y, log_det], [x, *trained], [y.detach(), -torch.ones_like(log_det)]))


def _as_freia(ours: AffineCoupling, side: int, kernel: int) -> AllInOneBlock:
    """FrEIA's block with our weights."""
    channels = sum(ours.split)
    block = AllInOneBlock([(channels, side, side)], subnet_constructor=convolution_subnet(kernel, 1.0))
    block.subnet.load_state_dict(ours.subnet.state_dict())
    with torch.no_grad():
        block.global_scale.copy_(ours.global_scale)
        block.global_offset.copy_(ours.global_offset)
        block.w_perm.zero_()
        block.w_perm[torch.arange(channels), ours.permutation] = 1
        block.w_perm_inv.copy_(block.w_perm.transpose(0, 1))
    return block


class _Theirs:
    """FastFlow as its public re-implementation trains it: images, backbone, norm and flow in every step."""

    caching_seconds = 0.0

    def __init__(self, folder: Path) -> None:
        self.samples, self.backbone, pyramid = _samples(folder), _backbone(), _pyramid()
        self.norms = nn.ModuleList(nn.LayerNorm(shape) for shape in pyramid.shapes)
        self.flows = nn.ModuleList()
        for head, (channels, side, _) in zip(pyramid.heads, pyramid.shapes, strict=True):
            flow = Ff.SequenceINN(channels, side, side)
            flow.module_list.extend(_as_freia(ours, side, ours.subnet[0].kernel_size[0]) for ours in head.flow)
            flow.conditions = [None] * len(flow.module_list)
            self.flows.append(flow)
        parameters = [*self.norms.parameters(), *self.flows.parameters()]
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=1e-3, weight_decay=1e-5)

    def step(self, images: int, channels: int, side: int, kernel: int) -> Callable[[], Any]:
        block, x = _coupling(images, channels, side, kernel)
        freia = _as_freia(block, side, kernel)
        return lambda: _gradients(freia, x)

    def epoch(self) -> list[float]:
        losses = []
        for start in range(0, len(self.samples), EPOCH_BATCH):
            with torch.no_grad():
                features = self.backbone(load_images(self.samples[start : start + EPOCH_BATCH], IMAGE_SIZE))
            loss = 0
            for norm, flow, x in zip(self.norms, self.flows, features, strict=True):
                z, log_det = flow(norm(x))
                loss = loss + (0.5 * z.square().sum((1, 2, 3)) - log_det).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses


class _Ours:
    """Cached features, our coupling, pieces of a batch side by side."""

    def __init__(self, folder: Path) -> None:
        pyramid, samples = _pyramid(), _samples(folder)
        config = make_config(
            category="bench", batch_size=EPOCH_BATCH, lr=1e-3, weight_decay=1e-5, base={"base_update": "off"}
        )
        self.workers = Workers(torch.device("cpu"))
        self.alternation = Alternation(config, pyramid, nullcontext, self.workers)
        # As a training with the default settings: features that have passed their norm, and the precision of "auto".
        cpu = torch.device("cpu")
        self.precision = choose_precision("auto", cpu)
        self.by_default = Alternation(config, _pyramid("none"), partial(autocast, cpu, self.precision), self.workers)
        self.store = FeatureStore(
            _backbone(), samples, IMAGE_SIZE, device=torch.device("cpu"), budget=1 << 40, spill=folder / "spill"
        )
        began = time.perf_counter()
        for _ in self.store.fill():
            pass
        self.caching_seconds = time.perf_counter() - began
        # The published loss leaves the Gaussian's constant out.
        self.constants = [0.9189385332046727 * c * h * w for c, h, w in pyramid.shapes]

    def step(self, images: int, channels: int, side: int, kernel: int) -> Callable[[], Any]:
        block, x = _coupling(images, channels, side, kernel)

        def run() -> list[Tensor]:
            size = min(microbatch_size(x), -(-len(x) // self.workers.count))  # every core has a piece
            pieces = self.workers.map(lambda part: _gradients(block, part), x.split(size))
            # As in training, where a piece goes through all blocks by itself, its own gradient goes on in that piece;
            # only the parameters' gradients meet.
            inputs, *parameters = zip(*pieces, strict=True)
            return [*inputs, *(torch.stack(grads).sum(0) for grads in parameters)]

        return run

    def epoch(self, alternation: Alternation | None = None) -> list[float]:
        losses = []
        for start in range(0, len(self.store), EPOCH_BATCH):
            indices = list(range(start, min(start + EPOCH_BATCH, len(self.store))))
            heads = (alternation or self.alternation).step(self.store.batch(indices), "flow", 1, 1, 0.0)
            losses.append(sum(heads) - sum(self.constants))
        return losses


def _backbone():
    torch.manual_seed(1)
    return create_backbone("resnet18.tv_in1k", (1, 2, 3), pretrained=False, image_size=IMAGE_SIZE)


def _write_images(folder: Path) -> None:
    for index in range(EPOCH_IMAGES):
        render_example("fabric", index=index, split="train").image.save(folder / f"{index:03d}.png")


def _samples(folder: Path) -> list[Sample]:
    return [Sample(path, "good") for path in sorted(folder.glob("*.png"))]


def _pyramid(norm: Norm = "layer-affine") -> FlowPyramid:
    """The same initial flow in both processes."""
    torch.manual_seed(0)
    return FlowPyramid(FlowConfig(norm=norm), [(channels, side, side) for channels, side in SHAPES])


def _bench_epoch(ours: _Side, theirs: _Side, repeats: int) -> dict[str, Any]:
    first = [side.ask("epoch")["losses"] for side in (ours, theirs)]
    a, b = _take_turns(ours, theirs, "epoch", repeats)
    peaks = {name: side.ask("epoch")["peak"] for name, side in (("ours", ours), ("theirs", theirs))}
    c, d = _take_turns(ours, theirs, "epoch", repeats, ours_order="default epoch")
    long = a + ours.caching_seconds / LONG_TRAINING
    return {
        "ours": a,
        "theirs": b,
        "ratio": b / a,
        "ours_default": c,
        "theirs_beside_default": d,
        "ratio_default": d / c,
        "default_precision": ours.ask("default epoch")["precision"],
        "caching_seconds": ours.caching_seconds,
        "ours_long": long,
        "ratio_long": b / long,
        "peak_memory_mib": peaks,
        "loss_difference": max(abs(x - y) / abs(y) for x, y in zip(*first, strict=True)),
    }


def _take_turns(ours: _Side, theirs: _Side, order: str, repeats: int, *, ours_order: str = "") -> tuple[float, float]:
    """Median seconds of each; one unmeasured turn first."""
    own = ours_order or order
    turns = [(ours.ask(own)["seconds"], theirs.ask(order)["seconds"]) for _ in range(repeats + 1)][1:]
    return statistics.median(a for a, _ in turns), statistics.median(b for _, b in turns)


class _Side:
    """A process of one side: a line in says what to do, a line out how it went."""

    def __init__(self, name: str, folder: str) -> None:
        self.process = spawn(
            "altub.evaluation.bench.steps",
            name,
            folder,
            str(torch.get_num_threads()),
            environment={"OMP_WAIT_POLICY": "PASSIVE" if name == "ours" else None},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Side:
        self.caching_seconds = json.loads(self.process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()

    def ask(self, order: str) -> dict[str, Any]:
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def _serve(name: str, folder: str, threads: str) -> None:
    """What runs in a side's process."""
    torch.set_num_threads(int(threads))
    if name == "ours":
        keep_freed_memory()
    side = (_Ours if name == "ours" else _Theirs)(Path(folder))
    print(json.dumps(side.caching_seconds), flush=True)
    last, step = "", None
    for line in sys.stdin:
        order, *numbers = line.split()
        if order == "step" and line != last:
            step = side.step(*map(int, numbers))
        last, losses = line, None
        if order in ("epoch", "default"):
            began = time.perf_counter()
            losses = side.epoch() if order == "epoch" else side.epoch(side.by_default)
            seconds = time.perf_counter() - began
        else:
            step()  # the other side has just had the cores and the caches: as little like training as can be
            began = time.perf_counter()
            for _ in range(STEPS_A_TURN):
                step()
            seconds = (time.perf_counter() - began) / STEPS_A_TURN
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
        answer = {"seconds": seconds, "losses": losses, "peak": peak, "precision": getattr(side, "precision", "fp32")}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
