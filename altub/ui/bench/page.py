"""The page in a process of its own, and what that process holds: memory, and files in its temporary folder."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import psutil

from altub.errors import RunError
from altub.runs.launchers.process import spawn

__all__ = ["MemoryPeak", "PageProcess"]

STARTED = "AltUB: "  # begins the line that the page prints when it listens
START_SECONDS, END_SECONDS = 120, 60
SETTLE_SECONDS = 3  # idle, before memory is looked at
SAMPLED_EVERY = 0.2  # seconds
LAST_LINES = 5  # of the log, where the page does not start

#: The page under load listens on loopback without a login, whatever is set here for another one.
OWN_SETTINGS = ("ALTUB_AUTH", "ALTUB_AUTH_FILE", "ALTUB_ALLOWED_HOSTS", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT")


class PageProcess(AbstractContextManager["PageProcess"]):
    """`python -m altub ui` on a free port; a context manager that waits until it listens, and ends it.

    Args:
        folder: for its data, temporary files and log.
        runs: the runs that it offers.

    Raises:
        RunError: (on entering) it does not start.
    """

    def __init__(self, folder: Path, runs: Path) -> None:
        self.temporary, self.data, self.runs = folder / "temporary", folder / "data", runs
        self.log = folder / "page.log"

    def __enter__(self) -> PageProcess:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        environment = {
            **dict.fromkeys(OWN_SETTINGS),
            "ALTUB_DATA": str(self.data),
            "ALTUB_RUNS": str(self.runs),
            "GRADIO_TEMP_DIR": str(self.temporary),
        }
        with self.log.open("wb") as log:
            arguments = ("ui", "--host", "127.0.0.1", "--port", str(port))
            self.process = spawn("altub", *arguments, environment=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._wait_until_it_listens()
        except BaseException:  # Ctrl+C too: no page stays behind
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Ends it as a service manager does; may be called twice."""
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def memory(self) -> int:
        """Resident bytes of the process and its children now."""
        held = 0
        with suppress(psutil.NoSuchProcess):  # it has ended
            process = psutil.Process(self.process.pid)
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):  # a child that has ended meanwhile
                    held += one.memory_info().rss
        return held

    def settled_memory(self) -> int:
        """Resident bytes after a few idle seconds."""
        time.sleep(SETTLE_SECONDS)
        return self.memory()

    def files(self) -> tuple[int, int]:
        """Number and bytes of what lies in its temporary folder."""
        sizes = []
        for base, _, names in os.walk(self.temporary):
            for name in names:
                with suppress(OSError):  # removed meanwhile
                    sizes.append(os.lstat(os.path.join(base, name)).st_size)
        return len(sizes), sum(sizes)

    def errors(self) -> int:
        """Tracebacks that the page has printed."""
        return self._output().count("Traceback (most recent call last)")

    def _output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while STARTED not in self._output():
            if self.process.poll() is not None or time.monotonic() > deadline:
                last = " ".join(self._output().split("\n")[-LAST_LINES:]).strip()
                raise RunError(f"The page did not start: {last or 'it said nothing'}. Try `python -m altub ui` alone.")
            time.sleep(SAMPLED_EVERY)


class MemoryPeak(AbstractContextManager["MemoryPeak"]):
    """The most resident bytes that a page's processes held at once within the block, in `bytes`."""

    def __init__(self, page: PageProcess) -> None:
        self.page, self.bytes = page, 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> MemoryPeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(SAMPLED_EVERY):
            self.bytes = max(self.bytes, self.page.memory())
