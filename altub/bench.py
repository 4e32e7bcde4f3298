"""How fast we are: our coupling step and training epoch beside what is published, at equal mathematics, in one run.

* A step: `AffineCoupling` and FrEIA's `AllInOneBlock` with the same weights, forward and backward, on FastFlow's
  resnet18 shapes.
* An epoch: the published loop decodes the images and runs the frozen backbone in every epoch, and stacks
  `AllInOneBlock`s; ours trains on cached features. Same flow, same norm, same loss, same optimiser, fp32. Each loop has
  a process of its own, as it would in use, which also gives its peak memory.

Both of a pair take turns within each repeat, so that a busy machine disturbs both, and medians are compared. Only the
ratios mean something. The backbone has random weights here: they cost the same as pretrained ones.
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
from pathlib import Path
from typing import Any

import FrEIA.framework as Ff
import torch
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn

from altub.alternation import Alternation
from altub.backbones import create_backbone
from altub.config import FlowConfig, make_config
from altub.data import Sample
from altub.data.sample import render_example
from altub.device import keep_freed_memory
from altub.features import FeatureStore, load_images
from altub.flows import AffineCoupling, FlowPyramid
from altub.flows.fastflow import convolution_subnet
from altub.parallel import Workers
from altub.training import CPU_MICRO_BATCH

__all__ = ["run_bench"]

STEP_BATCH = 8
EPOCH_IMAGES, EPOCH_BATCH, IMAGE_SIZE = 64, 32, 256  # batch 32 as published
SHAPES = ((64, 64), (128, 32), (256, 16))  # channels and side of resnet18's stages at 256 px
LONG_TRAINING = 30  # epochs over which the cost of caching is spread in the last line


def run_bench(repeats: int = 7, threads: int = 2, as_json: bool = False) -> dict[str, Any]:
    """Measures, prints a table (or one JSON line) and returns what it found."""
    torch.set_num_threads(threads)
    result = {"threads": threads, "repeats": repeats, "steps": _bench_steps(repeats), "epoch": _bench_epoch(repeats)}
    if as_json:
        print(json.dumps(result))
        return result
    print(f"{threads} threads, fp32, medians of {repeats}; ratio = theirs / ours\n")
    print("coupling step, forward + backward          ours ms   FrEIA ms   ratio")
    for row in result["steps"]["rows"]:
        print(f"  {row['step']:<38} {row['ours'] * 1e3:>9.1f} {row['theirs'] * 1e3:>10.1f} {row['ratio']:>7.2f}")
    total = result["steps"]
    print(f"  {'all six':<38} {total['ours'] * 1e3:>9.1f} {total['theirs'] * 1e3:>10.1f} {total['ratio']:>7.2f}\n")
    epoch = result["epoch"]
    print(f"training epoch, resnet18, {EPOCH_IMAGES} images          ours  published loop   ratio")
    print(
        f"  seconds                               {epoch['ours']:>8.2f} {epoch['theirs']:>15.2f} {epoch['ratio']:>7.2f}"
    )
    print(
        f"  with caching, over {LONG_TRAINING} epochs           {epoch['ours_long']:>8.2f} {epoch['theirs']:>15.2f} "
        f"{epoch['ratio_long']:>7.2f}"
    )
    memory = epoch["peak_memory_mib"]
    print(f"  peak memory, MiB                      {memory['ours']:>8.0f} {memory['theirs']:>15.0f}")
    print(f"  largest difference of the two losses, relative: {epoch['loss_difference']:.1e}")
    return result


def _bench_steps(repeats: int) -> dict[str, Any]:
    rows = []
    for channels, side in SHAPES:
        for kernel in (3, 1):
            torch.manual_seed(0)
            ours = AffineCoupling([(channels, side, side)], subnet_constructor=convolution_subnet(kernel, 1.0))
            theirs = _as_freia(ours, side, kernel)
            x = torch.randn(STEP_BATCH, channels, side, side, requires_grad=True)
            a, b = _take_turns(
                lambda x=x, block=ours: _step(block, x), lambda x=x, block=theirs: _step(block, x), repeats
            )
            name = f"{channels} channels, {side} x {side}, {kernel}x{kernel} subnet"
            rows.append({"step": name, "ours": a, "theirs": b, "ratio": b / a})
    ours, theirs = (sum(row[side] for row in rows) for side in ("ours", "theirs"))
    return {"rows": rows, "ours": ours, "theirs": theirs, "ratio": theirs / ours}


def _step(block: nn.Module, x: Tensor) -> None:
    (y,), log_det = block((x,))
    torch.autograd.backward([y, log_det], [y.detach(), -torch.ones_like(log_det)])  # of 1/2 |y|^2 - log_det


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


class _PublishedLoop:
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


class _OurLoop:
    def __init__(self, folder: Path) -> None:
        pyramid, samples = _pyramid(), _samples(folder)
        config = make_config(
            category="bench", batch_size=EPOCH_BATCH, lr=1e-3, weight_decay=1e-5, base={"base_update": "off"}
        )
        self.alternation = Alternation(config, pyramid, CPU_MICRO_BATCH, nullcontext, Workers(torch.device("cpu")))
        self.store = FeatureStore(
            _backbone(), samples, IMAGE_SIZE, device=torch.device("cpu"), budget=1 << 40, spill=folder / "spill"
        )
        began = time.perf_counter()
        for _ in self.store.fill():
            pass
        self.caching_seconds = time.perf_counter() - began
        # The published loss leaves the Gaussian's constant out.
        self.constants = [0.9189385332046727 * c * h * w for c, h, w in pyramid.shapes]

    def epoch(self) -> list[float]:
        losses = []
        for start in range(0, len(self.store), EPOCH_BATCH):
            indices = list(range(start, min(start + EPOCH_BATCH, len(self.store))))
            heads = self.alternation.step(self.store.batch(indices), "flow", 1, 1, 0.0)
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


def _pyramid() -> FlowPyramid:
    """The same initial flow in both processes."""
    torch.manual_seed(0)
    return FlowPyramid(FlowConfig(norm="layer-affine"), [(channels, side, side) for channels, side in SHAPES])


def _bench_epoch(repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="altub-bench-") as name, ExitStack() as stack:
        _write_images(Path(name))
        ours, theirs = (stack.enter_context(_LoopProcess(side, name)) for side in ("ours", "theirs"))
        first = [loop.epoch() for loop in (ours, theirs)]
        difference = max(abs(a - b) / abs(b) for a, b in zip(first[0]["losses"], first[1]["losses"], strict=True))
        a, b = _take_turns(ours.epoch, theirs.epoch, repeats)
        long = a + ours.caching_seconds / LONG_TRAINING
        return {
            "ours": a,
            "theirs": b,
            "ratio": b / a,
            "caching_seconds": ours.caching_seconds,
            "ours_long": long,
            "ratio_long": b / long,
            "peak_memory_mib": {"ours": ours.epoch()["peak"], "theirs": theirs.epoch()["peak"]},
            "loss_difference": difference,
        }


class _LoopProcess:
    """One of the two loops in a process of its own: a line in asks for an epoch, a line out says how it went."""

    def __init__(self, side: str, folder: str) -> None:
        command = [sys.executable, "-m", "altub.bench", side, folder, str(torch.get_num_threads())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> _LoopProcess:
        self.caching_seconds = json.loads(self.process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()

    def epoch(self) -> dict[str, Any]:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def _take_turns(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median seconds of each; one unmeasured turn first."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for side, run in zip(times, (ours, theirs), strict=True):
            began = time.perf_counter()
            run()
            if repeat:
                side.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def _serve(side: str, folder: str, threads: str) -> None:
    """The loop process."""
    torch.set_num_threads(int(threads))
    if side == "ours":
        keep_freed_memory()  # as `python -m altub train` does
    loop = (_OurLoop if side == "ours" else _PublishedLoop)(Path(folder))
    print(json.dumps(loop.caching_seconds), flush=True)
    for _ in sys.stdin:
        losses = loop.epoch()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = {"losses": losses, "peak": peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
