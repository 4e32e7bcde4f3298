"""A process that has imported what a training needs and waits for one: the training begins without those seconds.

The page prepares one soon after somebody opened it. It waits at its standard input for an order, one line of JSON, and
becomes the training that `spawn_training` would have started. Where that input ends, as when the page is gone, so does
the process. `ALTUB_STANDBY=0` does without.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from altub.runs.launchers.process import full_environment, spawn
from altub.settings import keeps_standby

__all__ = ["Standby", "main"]

IMPORTED = ("altub.training.loop", "altub.cli.app", "altub.cli.train")  # by name: rooms above this one
PATIENCE = 3.0  # seconds after which it is started: the page that was just opened has the cores first


class Standby:
    """At most one waiting process; safe to use from several threads."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience, self._lock = patience, threading.Lock()
        self._waiting: subprocess.Popen | None = None
        self._taken: subprocess.Popen | None = None
        self._timer: threading.Timer | None = None

    def prepare(self) -> None:
        """Starts a process soon, unless one waits or the one that was taken still trains; returns at once."""
        with self._lock:
            if not keeps_standby() or self._timer is not None or _lives(self._waiting) or _lives(self._taken):
                return
            self._timer = threading.Timer(self._patience, self._start)
            self._timer.daemon = True
            self._timer.start()

    def _start(self) -> None:
        with self._lock:
            if self._timer is None:  # closed meanwhile
                return
            self._timer = None
            with suppress(OSError):  # no process can be started: the training will say so
                self._waiting = spawn(
                    __name__,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # as a training has one
                )

    def take(
        self, arguments: Sequence[str], log: Path, environment: Mapping[str, str | None] | None = None
    ) -> subprocess.Popen | None:
        """The waiting process as `python -m altub arguments` that prints into a log; None where none waits.

        Args:
            environment: variables to set, or to unset by None; the others are this process's of now.
        """
        with self._lock:
            process, self._waiting = self._waiting, None
            if not _lives(process):
                return None
            order = {
                "arguments": list(arguments),
                "log": str(log.absolute()),
                "environment": full_environment(environment),
                "folder": os.getcwd(),
            }
            try:
                process.stdin.write(json.dumps(order).encode() + b"\n")
                process.stdin.close()
            except OSError:  # it died just now
                process.kill()
                return None
            self._taken = process
            return process

    def close(self) -> None:
        """Ends the waiting process; one that trains goes on."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._waiting is not None:
                with suppress(OSError):
                    self._waiting.stdin.close()
                self._waiting.wait()
                self._waiting = None


def _lives(process: subprocess.Popen | None) -> bool:
    return process is not None and process.poll() is None


def main() -> None:
    """Imports, waits for an order, and carries it out."""
    _import_what_takes_long()
    line = sys.stdin.buffer.readline()
    if not line:
        return
    order = json.loads(line)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    sys.argv = ["altub", *order["arguments"]]
    runpy.run_module("altub", run_name="__main__", alter_sys=True)


def _import_what_takes_long() -> None:
    for name in IMPORTED:
        import_module(name)
    import_module("altub.backbones.quick_timm").import_timm()
    import_module("altub.training.precision").bf16_pays()  # half a second where it is measured, kept by the process


if __name__ == "__main__":
    main()
