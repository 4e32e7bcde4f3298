"""`python -m altub bench --load 50`: the page with many clients at once.

A small model is trained on the built-in sample, and the real page is started in a process of its own. After a warm-up,
in which threads and caches come to be, each client uploads images of its own and asks for a prediction, all at the same
time. A score and the size of the maps tell whether an answer is the one to the client's own image: no two images have
the same size.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from altub.data.sample import render_example
from altub.runs.fit import fit_detector
from altub.ui.bench.clients import Visitors, draw_photos
from altub.ui.bench.page import MemoryPeak, PageProcess

__all__ = ["LoadResult", "print_load", "run_load"]

CATEGORY, TRAINED_ON, IMAGE_SIZE = "fabric", 24, 128
WARM_UP = 3  # requests of each client
MOST_IMAGES = 4  # of each client, in turn
MOST_GROWTH = 0.1  # of the memory after the warm-up
MIB = 1 << 20


@dataclass(frozen=True)
class LoadResult:
    """What a load test found; sizes in bytes, times in seconds.

    Attributes:
        clients, requests: how many clients, and how many requests each of them sent.
        errors, lost, wrong: requests that failed, were not answered in time, or got the answer to another image.
        tracebacks: that the page printed.
        seconds: from the first request to the last answer.
        p50, p95, slowest: time from the start of the upload to the downloaded answer.
        memory: resident, of the page and its children: at the start, after the warm-up, at the peak and at the end.
        files, bytes: in the page's temporary folder after the last answer.
        files_left: there after the page has ended.
        messages: the most frequent errors.
    """

    clients: int
    requests: int
    errors: int
    lost: int
    wrong: int
    tracebacks: int
    seconds: float
    p50: float
    p95: float
    slowest: float
    memory: dict[str, int]
    files: int
    bytes: int
    files_left: int
    messages: list[str]

    @property
    def growth(self) -> float:
        """Of the memory after the warm-up."""
        return self.memory["end"] / self.memory["warm"] - 1

    @property
    def problems(self) -> list[str]:
        """What a page under load must not show, in words; empty where all is well."""
        counted = ("errors", "lost", "wrong", "tracebacks", "files_left")
        found = [f"{name.replace('_', ' ')}: {getattr(self, name)}" for name in counted if getattr(self, name)]
        return found + ([f"memory grew by {self.growth:.0%}"] if self.growth > MOST_GROWTH else [])

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "growth": round(self.growth, 4), "problems": self.problems}


def run_load(clients: int = 50, requests: int = 20, tell: Callable[[str], None] = lambda text: None) -> LoadResult:
    """Trains the model, starts the page, and loads it.

    Args:
        clients: at the same time.
        requests: of each client, after the warm-up.
        tell: called with what is being done.

    Raises:
        RunError: the page does not start.
    """
    with tempfile.TemporaryDirectory(prefix="altub-load-") as name:
        folder = Path(name)
        tell("Training a small model on the sample")
        detector = fit_detector(
            [render_example(CATEGORY, index=index, split="train").image for index in range(TRAINED_ON)],
            name=CATEGORY,
            run_dir=folder / "runs" / "load",
            backbone="filter-bank",
            image_size=IMAGE_SIZE,
            epochs=1,
            device="cpu",
        )
        photos = draw_photos(folder / "photos", clients * min(requests, MOST_IMAGES), CATEGORY, detector)
        tell("Starting the page")
        with PageProcess(folder, folder / "runs") as page:
            memory = {"start": page.settled_memory()}
            visitors = Visitors(page.url, photos, clients, folder / "answers")
            try:
                tell(f"Warm-up: {clients} clients, {WARM_UP} requests each")
                warm_up = visitors.send(WARM_UP)
                memory["warm"] = page.settled_memory()
                tell(f"Load: {clients} clients, {requests} requests each")
                with MemoryPeak(page) as peak:
                    began = time.perf_counter()
                    measured = visitors.send(requests)
                    seconds = time.perf_counter() - began
                memory |= {"peak": peak.bytes, "end": page.settled_memory()}
                files, size = page.files()
            finally:
                visitors.close()
            page.end()
            tracebacks, (left, _) = page.errors(), page.files()
    everything = [*warm_up, *measured]  # a failure counts in the warm-up too, its time does not
    outcomes = Counter(answer.outcome for answer in everything)
    texts = Counter(answer.text for answer in everything if answer.text)
    p50, p95, slowest = np.quantile([answer.seconds for answer in measured], [0.5, 0.95, 1.0]).round(3).tolist()
    return LoadResult(
        clients=clients,
        requests=requests,
        errors=outcomes["error"],
        lost=outcomes["lost"],
        wrong=outcomes["wrong"],
        tracebacks=tracebacks,
        seconds=round(seconds, 2),
        p50=p50,
        p95=p95,
        slowest=slowest,
        memory=memory,
        files=files,
        bytes=size,
        files_left=left,
        messages=[f"{number} x {text}" for text, number in texts.most_common(5)],
    )


def print_load(result: LoadResult, as_json: bool = False) -> None:
    """A table, or one line of JSON."""
    if as_json:
        print(json.dumps(result.as_dict()))
        return
    memory = {when: size / MIB for when, size in result.memory.items()}
    rows = {
        "clients x requests": f"{result.clients} x {result.requests}",
        "errors": result.errors,
        "lost answers": result.lost,
        "wrong answers": result.wrong,
        "tracebacks of the page": result.tracebacks,
        "requests per second": f"{result.clients * result.requests / result.seconds:.1f}",
        "latency p50, p95, slowest": f"{result.p50:.2f} s, {result.p95:.2f} s, {result.slowest:.2f} s",
        "memory at the start": f"{memory['start']:.0f} MiB",
        "memory after the warm-up": f"{memory['warm']:.0f} MiB",
        "memory at the peak": f"{memory['peak']:.0f} MiB",
        "memory at the end": f"{memory['end']:.0f} MiB ({result.growth:+.1%} since the warm-up)",
        "temporary files": f"{result.files} ({result.bytes / MIB:.0f} MiB)",
        "files left after the page": result.files_left,
    }
    for name, value in rows.items():
        print(f"{name:<28}{value}")
    for text in result.messages:
        print(f"  {text}")
    print("not kept: " + "; ".join(result.problems) if result.problems else "all bounds kept")
