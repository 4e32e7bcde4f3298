"""What makes a training step on a CPU shorter: norms applied beforehand, bfloat16, a fused optimiser.

    python -m altub.evaluation.step_time --repeats 5

Steps of the default flow on resnet18's shapes at 256 px, of features at random. The variants take turns within each
repeat, and what is compared is the processor time of this process, so that other work on the machine hardly shows.
Prints a Markdown table of the median times, of the median ratios to the first variant and of the share of the roofline:
what the arithmetic of the step's convolutions would take at the rate at which this machine multiplies large matrices in
the same precision, measured between the steps. Then the losses of all.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from altub.device import Workers, autocast, keep_freed_memory
from altub.evaluation.bench.clock import synchronise, uses_tf32
from altub.flows import FlowPyramid
from altub.flows.norms import NoNorm
from altub.settings import wait_passively
from altub.training.config import make_config
from altub.training.steps import Alternation

__all__ = ["convolution_flops", "counted_convolutions", "matmul_rate", "measure_steps"]

MATRIX, GPU_MATRIX = 1024, 8192  # side of the matrices of the roofline: on a CPU larger ones are no faster an operation

SHAPES = ((64, 64, 64), (128, 32, 32), (256, 16, 16))  # (C, H, W) of resnet18's stages at 256 px
IMAGES = 32  # a step
CPU = torch.device("cpu")
# Name -> precision, norms applied beforehand, fused Adam.
VARIANTS = {
    "norm in every step, fp32": ("fp32", False, False),
    "norm beforehand, fp32": ("fp32", True, False),
    "norm in every step, fp32, fused Adam": ("fp32", False, True),
    "norm in every step, bf16": ("bf16", False, False),
    "norm beforehand, bf16": ("bf16", True, False),
}


def measure_steps(
    repeats: int, images: int = IMAGES, shapes: tuple[tuple[int, int, int], ...] = SHAPES
) -> dict[str, tuple[list[float], list[float]]]:
    """Variant -> processor seconds of each repeat's step, and the losses (nats per image) of all steps."""
    workers = Workers(CPU)
    torch.manual_seed(0)
    features = [torch.randn(images, *shape) for shape in shapes]
    updates = {name: _updates(shapes, features, workers, *variant) for name, variant in VARIANTS.items()}
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in updates}
    for repeat in range(repeats + 1):
        for name, (update, given) in updates.items():
            began = time.process_time()
            nll = update.enqueue(given, "flow", 1, repeat + 1, 0.0).tolist()
            if repeat:  # the first one fills caches
                found[name][0].append(time.process_time() - began)
            found[name][1].append(sum(nll))
    workers.close()
    return found


def convolution_flops(images: int, shapes: tuple[tuple[int, int, int], ...] = SHAPES) -> int:
    """Operations of a step's convolutions: two for each multiplication with addition, forward, and backward twice that
    (gradients of inputs and of weights)."""
    pyramid = FlowPyramid(make_config(category="any").flow, shapes)

    def forward() -> None:
        for head, shape in zip(pyramid.heads, shapes, strict=True):
            head(torch.zeros(1, *shape))

    return 3 * images * counted_convolutions(pyramid.heads, forward)


def counted_convolutions(network: nn.Module, forward: Callable[[], object]) -> int:
    """Operations of the convolutions of `network` while `forward` runs, two for each multiplication with addition."""
    counted = 0

    def count(layer: nn.Conv2d, _given: tuple[Tensor, ...], made: Tensor) -> None:
        nonlocal counted
        counted += 2 * made.numel() * layer.weight[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        forward()
    for hook in hooks:
        hook.remove()
    return counted


def matmul_rate(precision: str, repeats: int = 8, device: torch.device = CPU) -> float:
    """Operations a second at which square matrices are multiplied, the best of some repeats: of processor time on a
    CPU, of time elsewhere, and there in TF32 where fp32 convolutions are."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    side = MATRIX if device.type == "cpu" else GPU_MATRIX
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    left, right = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    kept = torch.get_float32_matmul_precision()
    if uses_tf32(device):
        torch.set_float32_matmul_precision("high")
    best = 0.0
    for turn in range(repeats + 1):
        synchronise(device)
        began = clock()
        left @ right
        synchronise(device)
        if turn:  # the first one sets things up
            best = max(best, 2 * side**3 / (clock() - began))
    torch.set_float32_matmul_precision(kept)
    return best


def _updates(
    shapes: tuple[tuple[int, int, int], ...],
    features: list[Tensor],
    workers: Workers,
    precision: str,
    beforehand: bool,
    fused: bool,
) -> tuple[Alternation, list[Tensor]]:
    config = make_config(category="any", lr=1e-3)
    torch.manual_seed(1)
    pyramid = FlowPyramid(config.flow, shapes)
    with torch.no_grad():  # a norm as after its fit, so that leaving it out would show in the loss
        for norm in pyramid.norms:
            norm.mean.normal_(std=0.3)
            norm.vectors.normal_(std=0.1)
            norm.gains.normal_(std=0.1)
    updates = Alternation(config, pyramid, lambda: autocast(CPU, precision), workers)
    if fused:
        for group in updates.optimizers["flow"].param_groups:
            group["fused"], group["foreach"] = True, False
    if beforehand:
        features = [norm(maps) for norm, maps in zip(pyramid.norms, features, strict=True)]
        updates.norms = [NoNorm(shape) for shape in shapes]
    return updates, features


def main() -> None:
    parser = argparse.ArgumentParser(description="What makes a training step on a CPU shorter.")
    parser.add_argument("--repeats", type=int, default=5)
    found = measure_steps(parser.parse_args().repeats)
    reference = next(iter(found.values()))[0]
    rates = {precision: matmul_rate(precision) for precision in ("fp32", "bf16")}
    flops = convolution_flops(IMAGES)
    known = ", ".join(f"{rate / 1e9:.0f} in {precision}" for precision, rate in rates.items())
    print(f"{flops / 1e9:.0f} billion operations of convolutions in a step; matrices, billions a second: {known}\n")
    print("| step | processor time | of the first | share of the roofline |\n|---|---|---|---|")
    for name, (seconds, _) in found.items():
        ratio = statistics.median(own / first for own, first in zip(seconds, reference, strict=True))
        share = flops / rates[VARIANTS[name][0]] / statistics.median(seconds)
        print(f"| {name} | {statistics.median(seconds):.2f} s | {ratio:.2f} | {100 * share:.0f} % |")
    for name, (_, losses) in found.items():
        print(f"{name}: {', '.join(f'{loss:.2f}' for loss in losses)}")


if __name__ == "__main__":
    wait_passively()
    keep_freed_memory()
    main()
