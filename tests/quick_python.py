"""Python processes that begin with the imports done: forks of one process that has imported what most of them need.

Importing torch, timm and FrEIA takes seconds, and a test run starts hundreds of processes. `QuickPopen` in the place of
`subprocess.Popen` starts those that run Python; they have a pid, pipes, an environment, a folder, a session and an exit
code of their own. The Hub's client, which reads its environment at import, and this project where its path leads to
another copy are imported anew. What a process must import itself is for tests that take the real one.

`python -m tests.quick_python SOCKET` is the process that forks: twice, so that a new process has no parent and becomes
a child of the one that asked for it.
"""

from __future__ import annotations

import atexit
import ctypes
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

__all__ = ["Forks", "QuickPython", "quick_popen"]

REPOSITORY = Path(__file__).resolve().parents[1]
MODULES = (
    "torch",
    "torch._dynamo",  # for what is compiled or exported
    "torchvision",
    "timm",
    "FrEIA.modules",
    "scipy.ndimage",
    "scipy.stats",
    "matplotlib.backends.backend_agg",
    "rich.progress",
    "huggingface_hub.hf_api",  # for the libraries that it imports
    "huggingface_hub.repocard",
    "altub.cli.app",
    "altub.deploy.upload",
    "altub.hub",
    "altub.inference.detector",
    "altub.labels.publish",
    "altub.plots",
    "altub.runs.launchers.hf_jobs.submit",
    "altub.training.loop",
)
READS_ENVIRONMENT = "huggingface_hub"  # when it is imported
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
LONGEST = 1 << 20  # bytes of a request
LONGEST_START = 120  # seconds


class Forks:
    """Whoever is told the address can ask for processes too; they are nobody's children, and are not waited for."""

    def __init__(self, address: str) -> None:
        self.address, self._turn = address, threading.Lock()

    def fork(self, wish: dict[str, Any], files: tuple[int, int, int]) -> int:
        """A new process with these files as its 0, 1 and 2; its pid."""
        with self._turn, socket.socket(socket.AF_UNIX) as asked:
            self._connect(asked)
            socket.send_fds(asked, [json.dumps(wish).encode() + b"\n"], files)
            return json.loads(asked.makefile().readline())

    def _connect(self, asked: socket.socket) -> None:
        end = time.monotonic() + LONGEST_START
        while asked.connect_ex(self.address) != 0:
            assert time.monotonic() < end, "the process that forks did not start"
            time.sleep(0.05)


class QuickPython(Forks):
    """The process that forks. What it forks for the process that made this becomes that one's child."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="quick-python")
        super().__init__(str(Path(self._folder.name) / "socket"))
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "MPLBACKEND": "agg"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.quick_python", self.address],
            cwd=REPOSITORY,
            env=variables,
            stdin=subprocess.PIPE,
        )

    def fork(self, wish: dict[str, Any], files: tuple[int, int, int]) -> int:
        with _adopting():
            return super().fork(wish, files)

    def start(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """`python *arguments` with options of `subprocess.Popen`."""
        return quick_popen(self)([sys.executable, *arguments], text=True, **options)

    def run(self, arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
        """The same, when it has ended."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.start(arguments, cwd=folder, env=environment, **pipes) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


@contextmanager
def _adopting() -> Iterator[None]:
    """Within it, what a child of this process leaves behind becomes this one's child."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        prctl(SUBREAPER, 0, 0, 0, 0)


def quick_popen(origin: Forks) -> type[subprocess.Popen]:
    """`subprocess.Popen`, whose Python processes are forks."""

    class QuickPopen(subprocess.Popen):
        def _execute_child(  # as CPython calls it since 3.11
            self,
            args: Any,
            executable: Any,
            preexec_fn: Any,
            close_fds: bool,
            pass_fds: Any,
            cwd: Any,
            env: Any,
            startupinfo: Any,
            creationflags: int,
            shell: bool,
            p2cread: int,
            p2cwrite: int,
            c2pread: int,
            c2pwrite: int,
            errread: int,
            errwrite: int,
            restore_signals: bool,
            gid: Any,
            gids: Any,
            uid: Any,
            umask: int,
            start_new_session: bool,
            process_group: int,
        ) -> None:
            pipes = (p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)
            if sys.platform != "linux" or shell or executable or preexec_fn or pass_fds or not _is_known(args):
                given = (preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell, *pipes)
                whose = (restore_signals, gid, gids, uid, umask, start_new_session, process_group)
                return super()._execute_child(args, executable, *given, *whose)
            variables = os.environ if env is None else env
            wish = {
                "arguments": [os.fspath(word) for word in args[1:]],
                "folder": os.fspath(cwd or os.getcwd()),
                "environment": {os.fsdecode(name): os.fsdecode(value) for name, value in variables.items()},
                "session": bool(start_new_session),
            }
            files = tuple(own if file == -1 else file for own, file in enumerate((p2cread, c2pwrite, errwrite)))
            try:
                self.pid = origin.fork(wish, files)
                self._child_created = True
            finally:
                self._close_pipe_fds(*pipes)

    return QuickPopen


def _is_known(args: Any) -> bool:
    """Is that this Python with a program, a module or a script, and no option but to be isolated?"""
    if isinstance(args, (str, bytes)) or len(args) < 2 or os.fspath(args[0]) != sys.executable:
        return False
    words = [os.fspath(word) for word in args[1:]]
    first = words[1] if words[0] == "-I" and len(words) > 1 else words[0]
    return first in ("-c", "-m") or not first.startswith("-")


def main(address: str) -> None:
    for name in MODULES:
        __import__(name)
    forget(READS_ENVIRONMENT)
    sys.modules["altub.plots"].channel_drift_image([[0.0, 1.0]], "mean")  # reads the fonts
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        # Standard input ends with whoever started this.
        while listening in select.select([listening, sys.stdin], [], [])[0]:
            assert threading.active_count() == 1, "a fork would lose a thread"
            asked, _ = listening.accept()
            with asked:
                serve(listening, asked)


def serve(listening: socket.socket, asked: socket.socket) -> None:
    text, files, _, _ = socket.recv_fds(asked, LONGEST, 3)
    while not text.endswith(b"\n"):
        text += asked.recv(LONGEST)
    if (child := os.fork()) == 0:
        between = os.getpid()
        if (pid := os.fork()) == 0:
            while os.getppid() == between:
                time.sleep(0.001)
            listening.close()
            asked.close()
            become(files, **json.loads(text))
        asked.send(json.dumps(pid).encode())
        os._exit(0)
    for file in files:
        os.close(file)
    os.waitpid(child, 0)
    asked.send(b"\n")  # now the new process has its parent


def become(files: list[int], arguments: list[str], folder: str, environment: dict[str, str], session: bool) -> None:
    """Runs the program in this fork, and ends as the interpreter would."""
    code = 1
    try:
        for own, given in enumerate(files):
            os.dup2(given, own)
        for given in set(files) - {0, 1, 2}:
            os.close(given)
        if session:
            os.setsid()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.stdin, sys.stdout, sys.stderr = standard_streams(bool(environment.get("PYTHONUNBUFFERED")))
        code = run(arguments)
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        if code == -signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(code)


def standard_streams(unbuffered: bool) -> list[io.TextIOWrapper]:
    """New ones: those of before know what their files were, such as whether these have a position."""
    opened = [os.fdopen(file, mode, encoding="utf-8", closefd=False) for file, mode in enumerate("rww")]
    opened[1].reconfigure(write_through=unbuffered, line_buffering=opened[1].isatty())
    opened[2].reconfigure(line_buffering=True, errors="backslashreplace")
    return opened


def run(arguments: list[str]) -> int:
    """`python *arguments`; its exit code."""
    is_isolated = arguments[0] == "-I"
    kind, *rest = arguments[1:] if is_isolated else arguments
    prepare([] if is_isolated else [os.getcwd() if kind in ("-c", "-m") else str(Path(kind).parent), *own_path()])
    try:
        if kind == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind == "-c":
            sys.argv = ["-c", *rest[1:]]
            sys.modules["__main__"] = program = types.ModuleType("__main__")
            exec(compile(rest[0], "<string>", "exec"), program.__dict__)
        else:
            sys.argv = [kind, *rest]
            runpy.run_path(kind, run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        traceback.print_exc()
        return -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def own_path() -> list[str]:
    """What the environment adds to the path."""
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


def prepare(path: list[str]) -> None:
    """Path (what comes before the installed packages), modules, signals and threads of a new interpreter."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.fsync = lambda file: None  # as in `tests/conftest.py`
    sys.path[:] = [*path, *BASE]
    forget("tests")
    found = PathFinder.find_spec("altub")
    if found is None or found.origin != sys.modules["altub"].__file__:
        forget("altub")
    tempfile.tempdir = None
    sys.modules["torch"].set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))


def forget(package: str) -> None:
    """It is imported anew by whoever wants it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


if __name__ == "__main__":
    BASE = [entry for entry in sys.path[1:] if entry not in own_path()]
    main(sys.argv[1])
