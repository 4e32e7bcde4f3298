"""Several images of a hundred million pixels at once: the page's memory is bounded, and others are answered meanwhile.

ALTUB_LARGE_IMAGES=10 sends ten, which takes minutes on two cores.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

from altub.runs.run import Run
from tests.conftest import REPOSITORY
from tests.data.images.encoding import png_of

LARGE = int(os.environ.get("ALTUB_LARGE_IMAGES") or 3)
GIGABYTE = 1e9


class Memory(threading.Thread):
    """Watches how many bytes a process and its children hold."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = pid, 0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.05):
            self.peak = max(self.peak, _held(self.pid))


def _held(pid: int) -> int:
    """Resident bytes of a process and its children."""
    bytes_held = 0
    with suppress(OSError):  # one that has ended meanwhile
        bytes_held = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                bytes_held += _held(int(child))
    return bytes_held


@pytest.fixture
def server(trained_run: Run, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Address and process of a page of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "ALTUB_RUNS": str(trained_run.path.parent),
        "GRADIO_TEMP_DIR": str(tmp_path / "gradio"),
        "GRADIO_SERVER_PORT": str(port),
    }
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(300):
            with suppress(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{port}/config", timeout=5)
                break
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_large_images_at_once(server: tuple[str, int], data_folder: Path, tmp_path: Path) -> None:
    url, pid = server
    large = tmp_path / "large.png"
    large.write_bytes(png_of(10_000, 10_000))
    ordinary = data_folder / "weave/test/good/000.png"
    clients = [Client(url, verbose=False, download_files=False) for _ in range(LARGE + 1)]
    clients[-1].predict(handle_file(ordinary), api_name="/predict")  # the model is loaded
    memory = Memory(pid)
    memory.start()
    with ThreadPoolExecutor(LARGE) as pool:
        began = time.monotonic()
        waiting = [pool.submit(client.predict, handle_file(large), api_name="/predict") for client in clients[:-1]]
        took: list[float] = []
        time.sleep(1)
        while not all(future.done() for future in waiting):
            asked = time.monotonic()
            clients[-1].predict(handle_file(ordinary), api_name="/predict")
            took.append(time.monotonic() - asked)
            time.sleep(0.2)
        outcomes = [future.exception() or future.result() for future in waiting]
        seconds = time.monotonic() - began
    memory.done.set()
    print(f"{LARGE} large images in {seconds:.0f} s, {len(took)} others meanwhile, the slowest in {max(took):.1f} s, "
          f"peak {memory.peak / GIGABYTE:.2f} GB")  # fmt: skip
    # On a busy machine, one that waited too long may be told to come again; nothing else may happen to it.
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(refused) < LARGE and all("Too many large images" in str(refusal) for refusal in refused), refused
    assert memory.peak < 3 * GIGABYTE
    assert statistics.median(took) < 5
