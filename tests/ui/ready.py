"""A process that has imported what the page needs: it becomes `python app.py` in a moment, once for each line it reads.

A server that is started anew imports for as long as it serves a test. What is forked here has its own variables,
folder, output and exit code; what is read from the environment at import is that of the first process.

A line is a request: {"arguments", "environment", "folder", "output"}, the last one a FIFO. The answer is the pid.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.quick_python import Forks, quick_popen

__all__ = ["ReadyPage"]

REPOSITORY = Path(__file__).resolve().parents[2]


class ReadyPage:
    """The process, as tests see it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ui.ready"],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._turn = threading.Lock()

    def start(self, arguments: list[str], environment: dict[str, str], folder: Path, output: Path) -> int:
        """Starts `app.py` with these arguments and variables in a folder; its pid."""
        request = {"arguments": arguments, "environment": environment, "folder": str(folder), "output": str(output)}
        with self._turn:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)


def main() -> None:
    import altub.ui.app  # noqa: F401

    # Linux then keeps no entry of a killed server, which nobody here waits for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        assert threading.active_count() == 1, "a fork would lose a thread"
        if pid := os.fork():
            print(pid, flush=True)
        else:
            become(**json.loads(line))


def become(arguments: list[str], environment: dict[str, str], folder: str, output: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    nothing, written = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY)
    os.dup2(nothing, 0)
    os.dup2(written, 1)
    os.dup2(written, 2)
    if address := os.environ.pop("QUICK_PYTHON", None):  # its trainings outlive it and are nobody's children anyway
        subprocess.Popen = quick_popen(Forks(address))
    sys.argv = ["app.py", *arguments]
    runpy.run_path(str(REPOSITORY / "app.py"), run_name="__main__")


if __name__ == "__main__":
    main()
