"""Commands in processes of their own that start at once: `python -m tests.hub.forks` imports torch, then forks.

One JSON line asks for `python <arguments>` with a folder and an environment, one answers. Every command is a new
process; huggingface_hub, which reads its environment at import, is imported anew in each.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
import traceback

MODULES = ("torch", "timm", "torchvision", "numpy", "matplotlib.pyplot", "sklearn.metrics", "scipy.ndimage", "rich")


def _run(arguments: list[str], folder: str, environment: dict[str, str]) -> int:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
        del sys.modules[name]
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


def main() -> None:
    os.environ["MPLBACKEND"] = "agg"
    for name in MODULES:
        __import__(name)
    for line in sys.stdin:
        wish = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                code = _run(wish["arguments"], wish["folder"], wish["environment"])
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
            _, status = os.waitpid(child, 0)
            out.seek(0), err.seek(0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
            answer |= {"out": out.read().decode(), "err": err.read().decode()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
