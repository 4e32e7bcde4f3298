"""What computing activations again saves and costs: memory and processor time of a training step with and without it.

    python -m altub.evaluation.step_memory --features wide_resnet50_2 --size 512 --images 1

Steps of the default flow on features at random. Each measurement is a process of its own, because what a process has
taken at most is never given back: one trains with stored activations, one without (`recompute`), the other way round in
every second repeat. Memory is what the process takes at most beyond what it had taken before the first step, when
weights, features and Adam's moments are there. Prints a Markdown table with the medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch

from altub.device import Workers, autocast
from altub.flows import FlowPyramid
from altub.training.config import make_config
from altub.training.steps import Alternation

__all__ = ["FEATURES", "measure_step"]

# Name -> channels and stride of every scale.
FEATURES = {
    "resnet18": ((64, 4), (128, 8), (256, 16)),
    "wide_resnet50_2": ((256, 4), (512, 8), (1024, 16)),
}
CPU = torch.device("cpu")
KIBIBYTE = 1024  # the unit of `ru_maxrss` on Linux


def measure_step(
    features: str, size: int, images: int, *, steps: int, precision: str, recompute: bool, updates: int = 2
) -> dict[str, float | list[float]]:
    """Of this process: MiB beyond what was taken before, processor seconds of the quickest step, losses of all."""
    workers = Workers(CPU)
    shapes = [(channels, size // stride, size // stride) for channels, stride in FEATURES[features]]
    config = make_config(category="any", flow={"steps": steps, "norm": "none"}, lr=5e-4)
    torch.manual_seed(0)
    pyramid = FlowPyramid(config.flow, shapes)
    pyramid.recompute_activations(recompute)
    alternation = Alternation(config, pyramid, lambda: autocast(CPU, precision), workers)
    maps = [torch.randn(images, *shape) for shape in shapes]
    # What stays after a step: gradients, Adam's moments, code that was loaded. Small maps take nothing else worth it.
    alternation.enqueue([part[:1, :, :4, :4].contiguous() for part in maps], "flow", 1, 1, 0.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    losses, seconds = [], []
    for number in range(updates):
        began = time.process_time()
        losses.append(sum(alternation.enqueue(maps, "flow", 1, number + 2, 0.0).tolist()))
        seconds.append(time.process_time() - began)
    workers.close()
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * KIBIBYTE / 2**20
    return {"mebibytes": taken, "seconds": min(seconds), "losses": losses}


def main() -> None:
    parser = argparse.ArgumentParser(description="What computing activations again saves and costs.")
    parser.add_argument("--features", choices=FEATURES, default="resnet18")
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--images", type=int, default=32, help="in a step")
    parser.add_argument("--steps", type=int, default=8, help="coupling steps of the flow")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--updates", type=int, default=2, help="of a measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("stored", "recomputed"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        found = measure_step(
            given.features,
            given.size,
            given.images,
            steps=given.steps,
            precision=given.precision,
            recompute=given.only == "recomputed",
            updates=given.updates,
        )
        print(json.dumps(found))
        return
    kinds = ["stored", "recomputed"]
    runs: dict[str, list[dict]] = {kind: [] for kind in kinds}
    for repeat in range(given.repeats):
        for kind in kinds if repeat % 2 == 0 else reversed(kinds):
            command = [sys.executable, "-m", "altub.evaluation.step_memory", *sys.argv[1:], "--only", kind]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[kind].append(json.loads(done.stdout))
    print(f"{given.features}, {given.size} px, {given.images} images, {given.steps} steps, {given.precision}\n")
    print("| activations | memory | processor time | losses |\n|---|---|---|---|")
    for kind, found in runs.items():
        memory = statistics.median(one["mebibytes"] for one in found)
        seconds = statistics.median(one["seconds"] for one in found)
        losses = ", ".join(f"{loss:.4f}" for loss in found[0]["losses"])
        print(f"| {kind} | {memory:.0f} MiB | {seconds:.2f} s | {losses} |")
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(*runs.values(), strict=True)]
    print(f"\nprocessor time recomputed / stored: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
