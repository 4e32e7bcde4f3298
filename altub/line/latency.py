"""How long a watched folder takes from a file to its verdict: `altub bench --latency MODEL`.

Pictures are put into a folder that is watched, one after the other and at irregular intervals, as a camera would. The
time runs from a file's last change to its verdict. Most of it is the wait that shows that a file is complete
(`altub.line.arrivals`); what the model takes of it is measured beside it.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from altub.errors import RunError
from altub.inference.detector import AnomalyDetector
from altub.line.arrivals import SETTLE_SECONDS
from altub.line.watch import FolderWatch

__all__ = ["Latency", "measure_latency"]

SIDE = 900  # pixels of a picture
LONGEST_PAUSE = 1.5  # seconds between two pictures
PATIENCE = 60.0  # seconds that the last verdict may take


@dataclass(frozen=True)
class Latency:
    """Seconds from the file to its verdict.

    Attributes:
        files: how many.
        median, p90, longest: over the files.
        settle: of them, the time in which a complete file must not change.
        inspection: median that decoding and the model take of one picture.
    """

    files: int
    median: float
    p90: float
    longest: float
    settle: float
    inspection: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        """For a person."""
        return (
            f"From a file in a watched folder to its verdict: median {self.median:.2f} s, 9 of 10 within "
            f"{self.p90:.2f} s, longest {self.longest:.2f} s ({self.files} pictures of {SIDE} x {SIDE}). A complete "
            f"file must not change for {self.settle:g} s; reading and inspecting one takes {self.inspection:.3f} s."
        )


def measure_latency(
    model: str | Path,
    files: int = 20,
    *,
    settle: float = SETTLE_SECONDS,
    longest_pause: float = LONGEST_PAUSE,
    device: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Latency:
    """Watches a temporary folder with a saved model while pictures are put into it.

    Args:
        settle: as of `FolderWatch`.
        longest_pause: seconds between two pictures are uniform up to this.
        progress: called with the pictures that were put there, and all.

    Raises:
        ModelError: there is no usable model.
        RunError: a verdict does not come.
    """
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)) for _ in range(min(files, 4))]
    detector = AnomalyDetector.load(model, device, for_scoring=True)  # as the watch does
    with tempfile.TemporaryDirectory(prefix="altub-latency-") as name:
        folder, output = Path(name) / "in", Path(name) / "out"
        folder.mkdir()
        stop = threading.Event()
        with FolderWatch(folder, model, output, settle=settle, device=device) as watch:
            thread = threading.Thread(target=watch.run, kwargs={"should_stop": stop.is_set}, daemon=True)
            thread.start()
            try:
                for number in range(files):
                    time.sleep(rng.uniform(0, longest_pause))
                    pictures[number % len(pictures)].save(folder / ".incoming", "JPEG", quality=92)
                    os.utime(folder / ".incoming")
                    os.replace(folder / ".incoming", folder / f"{number:04d}.jpg")
                    progress(number + 1, files)
                end = time.monotonic() + PATIENCE
                while watch.journal.last() < files:
                    if time.monotonic() > end or not thread.is_alive():
                        raise RunError(f"Only {watch.journal.last()} of {files} pictures got a verdict.")
                    time.sleep(0.05)
            finally:
                stop.set()
                thread.join(PATIENCE)
            seconds = np.array([entry.record["seconds"] for entry in watch.journal.after(0, files)])
        inspection = _inspection(detector, folder / "0000.jpg")
    return Latency(
        files,
        float(np.median(seconds)),
        float(np.quantile(seconds, 0.9)),
        float(seconds.max()),
        settle,
        inspection,
    )


def _inspection(detector: AnomalyDetector, picture: Path, times: int = 5) -> float:
    """Median seconds of reading and inspecting a picture."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        detector.predict(picture)
        found.append(time.perf_counter() - began)
    return float(np.median(found))
