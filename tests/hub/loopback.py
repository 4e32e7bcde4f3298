"""A loopback Hub, a trained run, and the real client in processes of its own."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from altub.runs.run import Run
from altub.training.config import make_config
from tests.hub.server import TOKENS
from tests.quick_python import QuickPython

REPOSITORY = Path(__file__).resolve().parents[2]
ANNA, BEN = TOKENS  # their tokens


class LoopbackHub:
    """The Hub in a process of its own, and ways to order faults from it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.hub.server"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        self.url = self.process.stdout.readline().strip()

    def fault(self, **faults: Any) -> None:
        """Orders exactly these faults; none ends all."""
        self._post("/_test/fault", faults)

    def change(self, repo: str, files: dict[str, bytes] | None = None, **more: Any) -> str:
        """A commit by somebody else; its hash."""
        encoded = {name: base64.b64encode(content).decode() for name, content in (files or {}).items()}
        return self._post("/_test/change", {"repo": repo, "files": encoded, **more})["sha"]

    def state(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "/_test/state", timeout=10) as answer:
            return json.load(answer)

    def files(self, repo: str, branch: str = "main") -> dict[str, bytes]:
        """Newest state of a repo."""
        found = self.state()["repos"][repo]
        return {k: base64.b64decode(v) for k, v in found["commits"][found["branches"][branch]].items()}

    def add_job(self) -> str:
        """A job of Anna's that waits for its machine; its id."""
        wish = {"command": ["true"], "environment": {}, "flavor": "t4-small", "dockerImage": "python:3.12"}
        request = urllib.request.Request(
            f"{self.url}/api/jobs/anna",
            json.dumps(wish).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {ANNA}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["id"]

    def set_job(self, job: str, **state: Any) -> None:
        """The job's stage and message from now on."""
        self._post("/_test/job", {"job": job, **state})

    def commits(self, repo: str) -> list[str]:
        return list(self.state()["repos"].get(repo, {"commits": {}})["commits"])

    def _post(self, path: str, value: Any) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(value).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)


@pytest.fixture(scope="package")
def loopback_hub() -> Iterator[LoopbackHub]:
    hub = LoopbackHub()
    yield hub
    hub.close()


@pytest.fixture
def hub(loopback_hub: LoopbackHub) -> LoopbackHub:
    loopback_hub.fault()
    return loopback_hub


@pytest.fixture(scope="session")
def pushed_run(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two epochs at 64 px; read only."""
    from altub.training.loop import train

    config = make_config(
        data=str(data_folder),
        category="weave",
        backbone="filter-bank",
        image_size=64,
        epochs=2,
        flow={"steps": 1, "hidden_ratio": 0.5, "norm": "layer"},
        device="cpu",
    )
    run = Run.create(tmp_path_factory.mktemp("pushed") / "weave", config)
    for _ in train(run):
        pass
    return run


@pytest.fixture(scope="session")
def narrow_run(pushed_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same with the base of one scale alone in its curves, as most of a push is drawing them; read only."""
    run = Run(tmp_path_factory.mktemp("narrow") / "weave")
    shutil.copytree(pushed_run.path, run.path)
    run.write_base_history(run.base_history()[:1])
    return run


class Conversation:
    """A process that answers each line of JSON by one that begins with "@"."""

    def __init__(self, python: QuickPython, program: str, environment: dict[str, str]) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = python.start(("-c", program), cwd=REPOSITORY, env=environment, **pipes)

    def ask(self, *question: Any) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        raise AssertionError("the process died")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Client:
    """`python ...` with the environment of one user: own cache, own token, the loopback Hub."""

    def __init__(self, home: Path, endpoint: str, token: str | None, python: QuickPython) -> None:
        self.home, self.endpoint, self.token, self.python = home, endpoint, token, python
        self.logged = ""  # everything that was ever printed

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`python <arguments>`."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "ALTUB_"))}
        clean |= {
            "HF_ENDPOINT": self.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HOME": str(self.home / "hf"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(REPOSITORY),
            "HF_DEBUG": "0",
        }
        clean |= {"HF_TOKEN": self.token} if self.token else {}
        clean |= environment
        done = self.python.run(arguments, self.home, clean)
        self.logged += done.stdout + done.stderr
        return done

    def altub(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "altub", *arguments, **environment)


@pytest.fixture
def anna(hub: LoopbackHub, quick_python: QuickPython, tmp_path: Path) -> Client:
    (tmp_path / "anna").mkdir()
    return Client(tmp_path / "anna", hub.url, ANNA, quick_python)


@pytest.fixture
def stranger(hub: LoopbackHub, quick_python: QuickPython, tmp_path: Path) -> Client:
    """Somebody without a token and with an empty cache."""
    (tmp_path / "stranger").mkdir()
    return Client(tmp_path / "stranger", hub.url, None, quick_python)
