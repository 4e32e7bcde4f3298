"""How fast we start: `import altub`, the help of the command line, and the page from its command to its first answer.

Processes of their own, one after the other; medians. The first one, which may compile and read from a cold disk, is not
measured. `import altub` is the time that the import statement takes; the others are from the start of the process.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from altub.errors import RunError
from altub.evaluation.bench.startup_peer import measure_peer_startup
from altub.files import PACKAGE
from altub.runs.launchers.process import spawn

__all__ = ["run_startup"]

PAGE_SECONDS = 120  # longest wait for the page
_IMPORT = "import time; began = time.perf_counter(); import altub; print(time.perf_counter() - began)"


def run_startup(repeats: int = 5, peer_python: Path | None = None) -> dict[str, Any]:
    """Median seconds, by what was started; None for the page where Gradio is not installed. With a Python that has
    anomalib also the "peer" (`measure_peer_startup`)."""
    found: dict[str, Any] = {
        "import altub": _median(_import_seconds, repeats),
        "altub --help": _median(_help_seconds, repeats),
        "page answers": _median(_page_seconds, repeats) if find_spec("gradio") else None,
    }
    return found if peer_python is None else {**found, "peer": measure_peer_startup(peer_python, found, repeats)}


def _median(measure: Callable[[], float], repeats: int) -> float:
    measure()
    return statistics.median(measure() for _ in range(repeats))


def _import_seconds() -> float:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _help_seconds() -> float:
    began = time.perf_counter()
    if code := spawn("altub", "--help", stdout=subprocess.DEVNULL).wait():
        raise RunError(f"`python -m altub --help` ended with exit code {code}.")
    return time.perf_counter() - began


def _page_seconds() -> float:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    began = time.perf_counter()
    process = spawn("altub", "ui", "--port", str(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - began < PAGE_SECONDS and process.poll() is None:
            try:
                with opener.open(f"http://127.0.0.1:{port}/", timeout=PAGE_SECONDS) as answer:
                    if answer.status == HTTPStatus.OK and answer.read():
                        return time.perf_counter() - began
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise RunError("The page did not start: try `python -m altub ui`.")
    finally:
        process.terminate()
        process.wait()
