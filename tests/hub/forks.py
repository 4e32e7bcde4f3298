"""Commands in processes of their own that start at once: `python -m tests.hub.forks` imports AltUB, then forks.

One JSON line asks for `python <arguments>` with a folder and an environment, one answers: with what it printed when it
has ended or, where named pipes are given for its streams (for stderr: a file), with its number at once. Every command
is a new process; huggingface_hub, which reads its environment at import, is imported anew in each.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

CLIENT = "huggingface_hub"
# What the commands of the tests use; the client's own modules for the libraries that they import.
MODULES = (
    "torch",
    "altub.backbones.filter_bank",
    "altub.cli.app",
    "altub.cli.progress",
    "altub.deploy.upload",
    "altub.hub",
    "altub.inference.detector",
    "altub.labels.publish",
    "altub.plots",
    "altub.runs.launchers.hf_jobs.submit",
    "altub.training.loop",
    "matplotlib.backends.backend_agg",
    "torch.fx.experimental.symbolic_shapes",
    f"{CLIENT}.hf_api",
    f"{CLIENT}.repocard",
)


def _prepare() -> None:
    os.environ["MPLBACKEND"] = "agg"
    for name in MODULES:
        __import__(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == CLIENT]:
        del sys.modules[name]
    sys.modules["altub.plots"].channel_drift_image([[0.0, 1.0]], "mean")  # reads the fonts


def _run(arguments: list[str], folder: str, environment: dict[str, str]) -> int:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.path[:1] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    kind, what, *rest = arguments
    sys.argv = ["-c" if kind == "-c" else what, *rest]
    try:
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # as the interpreter would end
        traceback.print_exc()
        return 1
    return 0


def _fork(wish: dict[str, Any], open_streams: Callable[[], list[int]]) -> int:
    """The number of a new process that runs the command."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # born deaf to it where this process is
        for number, stream in enumerate(open_streams()):
            os.dup2(stream, number)
        code = _run(wish["arguments"], wish["folder"], wish["environment"])
        for thread in threading.enumerate():  # which the interpreter waits for too
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _wait(child: int, patience: float = 60.0) -> int:
    """Its exit code; after `patience` seconds it is killed."""
    end = time.monotonic() + patience
    while not (found := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(found[1])


def _answer(wish: dict[str, Any]) -> dict[str, Any]:
    if "wait" in wish:
        return {"code": _wait(wish["wait"])}
    if "pipes" in wish:
        modes = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY | os.O_CREAT)
        return {"process": _fork(wish, lambda: list(map(os.open, wish["pipes"], modes)))}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = _fork(wish, lambda: [os.open(os.devnull, os.O_RDONLY), out.fileno(), err.fileno()])
        _, status = os.waitpid(child, 0)
        out.seek(0), err.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return {"code": code, "out": out.read().decode(), "err": err.read().decode()}


def main() -> None:
    _prepare()
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)
    os._exit(0)  # torch takes seconds to end


if __name__ == "__main__":
    main()
