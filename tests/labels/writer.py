"""Starts two writers on a label store, kills both after a moment, and again; each tells what was stored in a file.

    python -m tests.labels.writer DATABASE FOLDER ROUNDS

A process of its own that forks the writers: they start in an instant, without the threads and modules of the tests.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np

from altub.labels.store import LabelStore

PATIENCE = 60.0  # seconds until a writer has stored something


def write(path: str, who: str, output: Path) -> None:
    """Labels as fast as it can; a line for everything that was stored."""
    store = LabelStore(path)
    images = store.images.all()
    with output.open("w", buffering=1) as told:
        for number in count():
            image = images[number % len(images)]
            mask = np.arange(image.width * image.height).reshape(image.size[::-1]) == number % 96
            label = store.labels.add(image.sha256, who, "defect", mask=mask, note=f"{who} {number}")
            print(label.event, label.note, file=told)
            if number % 5 == 4:
                store.labels.undo(label.event, who)
                print(label.event, "undone", file=told)


def main(path: str, folder: str, rounds: str) -> None:
    rng = random.Random(0)
    for number in range(int(rounds)):
        writers = {}
        for who in ("ann", "bob"):
            output = Path(folder) / f"{number}-{who}.txt"
            output.touch()
            if (writer := os.fork()) == 0:
                write(path, who, output)
            writers[writer] = output
        for writer, output in writers.items():
            deadline = time.monotonic() + PATIENCE
            while not output.stat().st_size and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            os.kill(writer, signal.SIGKILL)
            os.waitpid(writer, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
