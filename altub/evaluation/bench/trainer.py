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
from altub.runs.run import Run
from altub.training.config import make_config
from altub.training.loop import train

__all__: list[str] = []


def _say(**values: Any) -> None:
    print(json.dumps({**values, "cpu_seconds": time.process_time()}), flush=True)


def _main() -> None:
    _say(kind="imported")
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    keep_freed_memory()
    evaluating, began = 0.0, None
    for event in train(Run.create(Path(job["run"]), make_config(**job["settings"]))):
        if began is not None:
            evaluating, began = evaluating + time.perf_counter() - began, None
        if event.record is not None:
            test = event.record.test
            auroc = None if test is None else test.pixel_auroc
            _say(kind="epoch", epoch=event.record.epoch, pixel_auroc=auroc, evaluating=evaluating)
        elif event.status.stage.startswith("evaluating"):
            began = time.perf_counter()


if __name__ == "__main__":
    _main()
