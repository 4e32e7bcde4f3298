"""A side of a comparison in a process of its own, which is talked to in lines of JSON.

A job goes in first, then orders, if there are any; answers come out, each with its `kind`. What a library prints
between them is passed over, and stderr is kept to say why a side failed. Ours runs a module of this package, the peer a
script that needs nothing of it, by a Python that has anomalib.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Self

from altub.errors import ConfigError, RunError
from altub.files import printable
from altub.runs.launchers.process import spawn
from altub.settings import weights_root

__all__ = ["PEER_SCRIPT", "Side", "our_side", "peer_backbone", "peer_environment", "peer_side"]

PEER_SCRIPT = Path(__file__).with_name("peer.py")
PEER_BACKBONES = ("resnet18", "wide_resnet50_2")  # of anomalib's FastFlow, at any image size


class Side:
    """A process that runs as long as the `with` block; it is made by `our_side` or `peer_side`.

    Args:
        who: in errors, such as "The peer".
        job: the first line that it is told.
        start: starts it, given the pipes.

    Attributes:
        began: when it was started, by `time.monotonic`.
        about: what it told of itself when it was `ready`.

    Raises:
        ConfigError: it cannot be started.
        RunError: it ended where an answer was wanted.
    """

    def __init__(self, who: str, job: dict[str, Any], start: Callable[..., subprocess.Popen[str]]) -> None:
        self.who, self.job, self.start = who, job, start
        self.about: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._errors: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
            self.began = time.monotonic()
            self._process = self.start(text=True, **pipes)
            stack.callback(self._end)
            self._tell(self.job)
            self._kept = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def _end(self) -> None:
        with suppress(BrokenPipeError):  # it has ended by itself
            self._process.stdin.close()
        self._process.stdout.close()  # one that still prints ends by it
        self._process.wait()

    def answers(self) -> Iterator[dict[str, Any]]:
        """What it tells, as it comes, to its end."""
        for line in self._process.stdout:
            if "kind" in (told := _parsed(line)):
                yield told
        if self._process.wait():
            raise self.failure()

    def heard(self, kind: str) -> dict[str, Any]:
        """Its next answer of this kind."""
        for told in self.answers():
            if told["kind"] == kind:
                return told
        raise self.failure()

    def ready(self) -> Self:
        """Waits until it takes orders."""
        self.about = self.heard("ready")
        return self

    def ask(self, kind: str, **order: Any) -> dict[str, Any]:
        """Gives an order and waits for its answer."""
        self._tell(order)
        return self.heard(kind)

    def failure(self) -> RunError:
        """Why it ended, to be raised."""
        code = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        return RunError(f"{self.who} failed: {printable(last) or f'exit code {code}'}.")

    def _tell(self, values: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # it has ended; there will be no answer
            self._process.stdin.write(json.dumps(values) + "\n")
            self._process.stdin.flush()


def our_side(who: str, module: str, job: dict[str, Any], threads: int, *, wait_policy: str | None = "PASSIVE") -> Side:
    """A module of ours, in the environment of the command line.

    Args:
        wait_policy: of OpenMP's threads; None leaves PyTorch's default.
    """
    environment = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": wait_policy}
    return Side(who, job, lambda **pipes: spawn(module, environment=environment, **pipes))


def peer_side(python: Path, script: Path, job: dict[str, Any], threads: int) -> Side:
    """The peer's script, in PyTorch's default environment."""
    command = [str(python), "-I", str(script)]  # -I: finds nothing of ours

    def start(**pipes: Any) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(command, env=peer_environment(threads), **pipes)
        except OSError as error:
            raise ConfigError(f"{python} cannot be started: give a Python with anomalib.") from error

    return Side("The peer", job, start)


def peer_environment(threads: int | None = None) -> dict[str, str]:
    """Ours, without what our command line has set."""
    variables = {**os.environ, **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})}
    variables.pop("OMP_WAIT_POLICY", None)
    return variables


def peer_backbone(name: str) -> tuple[str, Path]:
    """The peer's name of a backbone of ours, and the file with its weights.

    Raises:
        ConfigError: the peer does not have it, or its weights are no file on this machine.
    """
    backbone = name.partition(".")[0]
    if backbone not in PEER_BACKBONES:
        raise ConfigError(f"The peer has no backbone {name!r}: use one of {', '.join(PEER_BACKBONES)}.")
    weights = None if weights_root() is None else weights_root() / f"{name}.safetensors"
    if weights is None or not weights.is_file():
        raise ConfigError(
            f"The peer needs the weights as a file: set ALTUB_WEIGHTS to a folder with {name}.safetensors."
        )
    return backbone, weights


def _parsed(line: str) -> dict[str, Any]:
    """The values of a line; none of one that a library printed."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
