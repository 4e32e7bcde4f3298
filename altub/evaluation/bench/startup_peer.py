"""How fast the peer starts, beside ours: `import anomalib`, and the help of its command line where that is installed.

Processes of its own Python, one after the other, medians as of ours (`altub.evaluation.bench.startup`).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from altub.errors import ConfigError
from altub.evaluation.bench.side import peer_environment
from altub.files import printable

__all__ = ["COUNTERPARTS", "measure_peer_startup"]

#: What of ours is compared with what of the peer's; what is not here has no counterpart.
COUNTERPARTS = {"import altub": "import anomalib", "altub --help": "anomalib --help"}
_IMPORT = "import time; began = time.perf_counter(); import anomalib; print(time.perf_counter() - began)"


def measure_peer_startup(python: Path, ours: dict[str, float | None], repeats: int) -> dict[str, Any]:
    """The peer's median seconds, by what was started; what is `missing` where one of them fails; and the ratios, peer /
    ours, by what of ours was started.

    Raises:
        ConfigError: there is no such Python.
    """
    script = python.parent / ("anomalib.exe" if sys.platform == "win32" else "anomalib")
    measures: dict[str, Callable[[], float]] = {
        "import anomalib": lambda: float(_run(str(python), "-I", "-c", _IMPORT).split()[-1]),
        "anomalib --help": lambda: _seconds(str(script), "--help"),
    }
    if not python.exists():
        raise ConfigError(f"{python} cannot be started: give a Python with anomalib.")
    seconds: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    for what, measure in measures.items():
        try:
            measure()  # may compile, and read from a cold disk
            seconds[what] = statistics.median(measure() for _ in range(repeats))
        except OSError:
            seconds[what], missing[what] = None, f"{script} is not installed"
        except subprocess.CalledProcessError as error:
            last = error.stderr.strip().rpartition("\n")[2]
            seconds[what], missing[what] = None, printable(last) or f"exit code {error.returncode}"
    ratios = {
        what: seconds[theirs] / ours[what]
        for what, theirs in COUNTERPARTS.items()
        if seconds[theirs] is not None and ours[what]
    }
    return {"seconds": seconds, "missing": missing, "ratios": ratios}


def _seconds(*command: str) -> float:
    began = time.perf_counter()
    _run(*command)
    return time.perf_counter() - began


def _run(*command: str) -> str:
    """What it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=peer_environment())
    return done.stdout
