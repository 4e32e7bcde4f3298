"""Our side of a training to equal quality: a process that trains as `altub train` does and tells of every epoch.

It is told what to train by one line of JSON, and prints lines of it (`altub.evaluation.bench.quality`).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from altub.device import keep_freed_memory
from altub.evaluation.bench.clock import synchronise
from altub.evaluation.step_time import convolution_flops, matmul_rate
from altub.inference.model_files import read_config
from altub.runs.run import Run
from altub.training.config import make_config
from altub.training.data_record import DataRecord
from altub.training.loop import train

__all__: list[str] = []


def _say(**values: Any) -> None:
    print(json.dumps({**values, "cpu_seconds": time.process_time()}), flush=True)


def _main() -> None:
    _say(kind="imported")
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    keep_freed_memory()
    run = Run.create(Path(job["run"]), make_config(**job["settings"]))
    device = torch.device(job["settings"]["device"])
    evaluating, evaluating_cpu, began = 0.0, 0.0, None
    for event in train(run):
        if began is not None:
            synchronise(device)
            evaluating += time.perf_counter() - began[0]
            evaluating_cpu += time.process_time() - began[1]
            began = None
        if event.record is not None:
            test = event.record.test
            spent = {"evaluating": evaluating, "evaluating_cpu": evaluating_cpu}
            auroc = None if test is None else test.pixel_auroc
            _say(kind="epoch", epoch=event.record.epoch, pixel_auroc=auroc, **spent)
        elif event.status.stage.startswith("evaluating"):
            synchronise(device)
            began = time.perf_counter(), time.process_time()
    images = [entry for entry in DataRecord.read(run.data_file, run.id).images if entry.part == "trained"]
    flops = convolution_flops(1, read_config(run.model_dir).detector.shapes)
    _say(kind="about", flops=flops, train_images=len(images), matmul_rate=matmul_rate("fp32", device=device))


if __name__ == "__main__":
    _main()
