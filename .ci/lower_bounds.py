"""Holds the lower bounds in pyproject.toml: installs exactly those, then imports, trains, predicts and opens the page.

It runs with the Python of an environment in which the tests run, and borrows from it what has no lower bound of its own
and what is large: torch and torchvision stay what they are there. pip chooses what the packages need in turn.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
import venv
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parent.parent
BORROWED = {"torch", "torchvision"}
PAGE_TIMEOUT = 90  # seconds

# Everything that needs no process of its own.
PROGRAM = """
import os
from importlib.metadata import version
from pathlib import Path

from packaging.version import Version

for name, bound in {bounds!r}.items():
    assert Version(version(name)) == Version(bound), (name, version(name), bound)

from altub.cli.app import app

def altub(*arguments):
    app(list(arguments), standalone_mode=False)

# The sample, smaller: all of it takes a minute to draw.
from altub.data import sample

sample._TRAIN_GOOD, sample._TEST_GOOD, sample._TEST_EACH_DEFECT = 12, 4, 1

for command in ("train", "predict", "runs", "push"):
    altub(command, "--help")
train = ["--backbone", "filter-bank", "--image-size", "64", "--epochs", "1", "--base-update", "moments"]
altub("train", "--run-dir", "run", "--category", "bracket", *train)
image = next(Path(os.environ["ALTUB_DATA"]).rglob("test/*/*.png"))
altub("predict", "--model", "run/model", "--output", "out", str(image))
"""


def lower_bounds() -> dict[str, str]:
    """Distribution, with its extras -> its lower bound, for the library and its page."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {}
    for line in [*project["dependencies"], *project["optional-dependencies"]["ui"]]:
        requirement = Requirement(line)
        bounds = [part.version for part in requirement.specifier if part.operator == ">="]
        if bounds and requirement.name not in BORROWED:
            extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
            found[requirement.name + extras] = bounds[0]
    return found


def environment(folder: Path, bounds: dict[str, str]) -> Path:
    """The Python of a new environment with the bounds on top of this one's packages."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    (own,) = folder.glob("lib/python*/site-packages")
    borrowed = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (own / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    pins = [f"{name}=={bound}" for name, bound in bounds.items()]
    command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile", *pins, *BORROWED]
    subprocess.run(command, check=True)
    return python


def open_page(python: Path, work: Path, environ: dict[str, str]) -> subprocess.Popen:
    with (work / "page.log").open("wb") as log:
        return subprocess.Popen([python, "app.py"], cwd=REPOSITORY, env=environ, stdout=log, stderr=subprocess.STDOUT)


def wait_for_page(page: subprocess.Popen, work: Path, url: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + PAGE_TIMEOUT
    while time.monotonic() < end and page.poll() is None:
        try:
            with opener.open(url, timeout=5) as response:
                assert response.status == 200, response.status
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    sys.exit(f"the page did not open:\n{(work / 'page.log').read_text(errors='replace')}")


def main() -> None:
    bounds = lower_bounds()
    print("lower bounds:", ", ".join(f"{name} {bound}" for name, bound in bounds.items()), flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        python = environment(work / "venv", bounds)
        print(f"installed after {time.monotonic() - start:.0f} s", flush=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        settings = {"ALTUB_DATA": str(work / "data"), "ALTUB_RUNS": str(work / "runs"), "HF_HUB_OFFLINE": "1"}
        settings |= {"GRADIO_SERVER_PORT": port, "GRADIO_ANALYTICS_ENABLED": "False", "PYTHONPATH": str(REPOSITORY)}
        environ = os.environ | settings
        subprocess.run([python, "-m", "altub", "--help"], cwd=work, env=environ, check=True, stdout=subprocess.DEVNULL)
        page = open_page(python, work, environ)
        try:
            plain = {name.partition("[")[0]: bound for name, bound in bounds.items()}
            program = [python, "-c", PROGRAM.format(bounds=plain)]
            done = subprocess.run(program, cwd=work, env=environ, capture_output=True, text=True)
            if done.returncode or not (work / "out" / "predictions.csv").is_file():
                sys.exit(f"training or predicting failed:\n{done.stdout}\n{done.stderr}")
            wait_for_page(page, work, f"http://127.0.0.1:{port}/")
        finally:
            page.terminate()
            page.wait()
    print(f"the lower bounds hold; {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
