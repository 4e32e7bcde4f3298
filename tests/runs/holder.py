"""Another process that holds a run as its trainer does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from altub.runs.run import Run
from tests.conftest import REPOSITORY

# Holds a run as a trainer does, says so, and waits to be killed.
HOLDER = """
import os, sys, time
from altub.runs.run import Run
run = Run.open(sys.argv[1])
with run.lock():
    status = run.read_status()
    status.state, status.pid, status.epoch = "running", os.getpid(), 2
    run.write_status(status)
    print("held", flush=True)
    time.sleep(300)
"""


@contextmanager
def held_elsewhere(run: Run) -> Iterator[subprocess.Popen]:
    """Another process trains the run."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
