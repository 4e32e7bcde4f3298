"""The wheel: what is in it, and that it works where there is no checkout: help, page with css and logo, a job's code.

It is installed into a fresh virtual environment that borrows the other packages from this one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from altub import version
from altub.runs.launchers.hf_jobs import source
from tests.conftest import REPOSITORY
from tests.sources import PACKAGE
from tests.ui.conftest import Server, chromium, chromium_is_there, small_sample

__all__ = ["chromium", "chromium_is_there", "small_sample"]  # fixtures

BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE")


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """The output of a command that sees nothing of the checkout; its errors where it is meant to fail."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: what an earlier build left in the checkout cannot stand in for what is missing."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in BUILT_FROM:
        shutil.copy(REPOSITORY / name, folder)
    shutil.copytree(PACKAGE, folder / "altub", ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", ".", cwd=folder)
    (built,) = (folder / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the environment's commands."""
    environment = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment)
    (own,) = environment.glob("lib/python*/site-packages")
    borrowed = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (own / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    python = environment / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=wheel.parent,
    )
    return environment / "bin"


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == {path.relative_to(REPOSITORY).as_posix() for path in files}
    assert {"altub/py.typed", "altub/assets/altub.css", "altub/assets/logo.svg"} <= packed
    assert any(re.search(r"\.dist-info/.*LICENSE$", name) for name in names)


def test_its_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    assert metadata["Name"] == "altub" and metadata["Version"] == version.__version__
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_all("Provides-Extra") == ["ui", "onnx", "watch", "mqtt", "ray", "dev"]
    assert "arxiv.org/abs/2210.14913" in metadata["Project-URL"] and "# AltUB" in metadata.get_payload()


def test_it_runs_outside_the_checkout(scripts: Path, tmp_path: Path) -> None:
    assert " train " in run(scripts / "altub", "--help", cwd=tmp_path)
    where = run(scripts / "python", "-c", "import altub; print(altub.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(scripts.parent)


def test_it_knows_what_a_job_needs(scripts: Path, tmp_path: Path) -> None:
    program = (
        "import io, json, zipfile\n"
        "from altub.runs.launchers.hf_jobs.source import pack_source, requirements\n"
        "names = zipfile.ZipFile(io.BytesIO(pack_source())).namelist()\n"
        "print(json.dumps([requirements(), names]))"
    )
    listed, names = json.loads(run(scripts / "python", "-c", program, cwd=tmp_path))
    assert sorted(listed) == sorted(source.requirements())
    assert {"requirements.txt", "altub/__init__.py", "altub/runs/launchers/hf_jobs/mirror.py"} <= set(names)


def test_a_space_needs_a_checkout_and_it_says_so(scripts: Path, tmp_path: Path) -> None:
    told = run(scripts / "altub", "deploy", "--folder", tmp_path / "space", cwd=tmp_path, code=2)
    assert "A Space is assembled from a checkout of AltUB" in told and "Traceback" not in told


@pytest.fixture
def served(chromium: object, scripts: Path, small_sample: Path, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, (str(scripts / "altub"), "ui"), tmp_path)
    shutil.copytree(small_sample, server.data / "sample")
    server.start()
    yield server
    server.kill()


@pytest.mark.browser
def test_the_page_comes_with_its_css_and_its_logo(chromium, served: Server) -> None:
    page = chromium.new_page()
    try:
        page.goto(served.url)
        logo = page.locator("#altub-brand .logo svg")
        logo.wait_for()
        style = "node => (({width, height, display}) => [width, height, display])(getComputedStyle(node))"
        assert logo.evaluate(style) == ["44px", "44px", "block"], "a rule of altub.css"
        favicon = page.request.get(served.url + "favicon.ico")
        assert favicon.body() == (PACKAGE / "assets/logo.svg").read_bytes()
    finally:
        page.close()
