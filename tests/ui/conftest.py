"""A real server (`python app.py` as a process of its own) and a real chromium for the browser tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from altub.runs.run import Run
from tests.conftest import draw_sample
from tests.quick_python import QuickPython
from tests.ui.ready import ReadyPage

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

# Milliseconds that the page may take for anything: two test files run side by side, and loading it takes seconds.
playwright_api.expect.set_options(timeout=20_000)

REPOSITORY = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("ALTUB_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What it says of requests that a page had under way when it was left; elsewhere each of them is a complaint.
LEFT = re.compile(r"signal is aborted|Connection errored out")
START_TIMEOUT = 90  # seconds
ONE_THREAD = 1  # a training that takes every core leaves none for the browser that looks at it
# What Gradio itself says: a stream that ends when a page is left, and a message of its translation library.
NOT_OURS = re.compile(r"ERR_ABORTED|ERR_INCOMPLETE_CHUNKED_ENCODING|heartbeat|svelte-i18n|WebGL|favicon")


class Server:
    """The page on a port of its own; can be killed and started again in the same place.

    Args:
        folder: for its data and runs.
        command: what starts it, in the folder `cwd`.
        threads: that it and its trainings compute with; None: as many as there are cores.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str] = (sys.executable, "app.py"),
        cwd: Path = REPOSITORY,
        *,
        threads: int | None = None,
    ) -> None:
        self.command, self.cwd, self.threads = command, cwd, threads
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.data, self.runs = folder / "data", folder / "runs"
        self.mvtec_sources = folder / "sources.json"  # read at every download
        self.mvtec_sources.write_text('["http://127.0.0.1:9/dead.tar"]')
        self.output: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it runs with."""
        environment = {
            **os.environ,
            "ALTUB_DATA": str(self.data),
            "ALTUB_RUNS": str(self.runs),
            "ALTUB_MVTEC_SOURCES": str(self.mvtec_sources),
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1",
        }
        environment.pop("ALTUB_WEIGHTS", None)
        if self.threads is not None:
            environment["OMP_NUM_THREADS"] = str(self.threads)
        return environment

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*self.command, "--port", str(self.port)],
            cwd=self.cwd,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._wait(self.process.stdout)

    def _wait(self, lines: Iterable[str]) -> None:
        ready = threading.Event()
        threading.Thread(target=self._read, args=(lines, ready), daemon=True).start()
        if not ready.wait(START_TIMEOUT):
            self.kill()
            raise RuntimeError("the page did not start:\n" + "".join(self.output))

    def _read(self, lines: Iterable[str], ready: threading.Event) -> None:
        for line in lines:
            self.output.append(line)
            if line.startswith("AltUB:"):
                ready.set()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


class QuickServer(Server):
    """A server that a process with all imports becomes, as do its trainings: a tenth of the work."""

    def __init__(self, folder: Path, origin: ReadyPage, trainings: QuickPython) -> None:
        super().__init__(folder, threads=ONE_THREAD)
        self.origin, self.trainings = origin, trainings
        self.pid: int | None = None
        self.pipe = folder / "output"

    def start(self) -> None:
        self.pipe.unlink(missing_ok=True)
        os.mkfifo(self.pipe)
        environment = {**self.environment, "QUICK_PYTHON": self.trainings.address}
        self.pid = self.origin.start(["--port", str(self.port)], environment, self.cwd, self.pipe)
        self._wait(self.pipe.open(encoding="utf-8"))

    def kill(self) -> None:
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            end = time.monotonic() + 10
            while Path(f"/proc/{self.pid}").exists():
                assert time.monotonic() < end, "the page goes on"
                time.sleep(0.01)
            self.pid = None


@pytest.fixture(scope="session")
def chromium_is_there() -> None:
    if CHROMIUM is None:
        message = "no chromium found (install it, or name it in ALTUB_CHROMIUM)"
        if os.environ.get("ALTUB_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)


# Playwright's event loop runs for as long as it is open: a second one, or asyncio.run in another module, would fail.
@pytest.fixture(scope="module")
def chromium(chromium_is_there: None) -> Iterator[playwright_api.Browser]:
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def small_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page finds of the built-in sample, which it would draw first."""
    from altub.data import SAMPLE_CATEGORIES

    used = {name: SAMPLE_CATEGORIES[name] for name in ("bracket", "fabric")}
    return draw_sample(tmp_path_factory.mktemp("drawn") / "sample", used, train=16, good=2, each=2)


@pytest.fixture(scope="session")
def ready_page(chromium_is_there: None) -> Iterator[ReadyPage]:
    variables = {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(ONE_THREAD)}
    page = ReadyPage(os.environ | variables)
    yield page
    page.close()


@pytest.fixture(scope="module")
def server(
    ready_page: ReadyPage,  # it imports while the sample is drawn, as does the one that forks trainings
    quick_python: QuickPython,
    small_sample: Path,
    chromium: playwright_api.Browser,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    server = QuickServer(tmp_path_factory.mktemp("served"), ready_page, quick_python)
    shutil.copytree(small_sample, server.data / "sample")
    server.start()
    yield server
    server.kill()
    # Trainings outlive their server: none may outlive the tests.
    from altub.errors import RunError
    from altub.runs import queue as jobs
    from altub.runs.run import list_runs

    for run in list_runs(server.runs):
        try:
            jobs.stop(run)
        except RunError:
            continue


def open_tab(page: playwright_api.Page, name: str) -> None:
    """Opens a tab as a person does: in the bar or, where its font is too wide for the window, behind "More tabs"."""
    tab = page.get_by_role("tab", name=name, exact=True)
    behind = page.locator(".overflow-dropdown button", has_text=name)
    playwright_api.expect(tab.or_(behind)).to_have_count(1)
    if behind.count():
        page.get_by_role("button", name="More tabs").click()
        behind.click()
    else:
        tab.click()


class Visitor:
    """A browser window and everything it complained about."""

    def __init__(self, context: playwright_api.BrowserContext, server: Server) -> None:
        self.server, self.page = server, context.new_page()
        self.complaints: list[str] = []
        self.outside: list[str] = []
        self.drawn: list[int] = []  # numbers of the answers (`altub.ui.marks`) that the Train tab said it has drawn
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        self.page.on("request", self._note_request)

    def _note_console(self, message: playwright_api.ConsoleMessage) -> None:
        if message.type == "error" and not NOT_OURS.search(message.text):
            self.complaints.append(message.text)

    def _note_request(self, request: playwright_api.Request) -> None:
        if not request.url.startswith((self.server.url, "data:", "blob:")):
            self.outside.append(request.url)
        if "/queue/join?" in request.url:
            *_, kind, number = [None, None, *json.loads(request.post_data)["data"]]
            if kind == "mean" and isinstance(number, int):
                self.drawn.append(number)

    def open(self, query: str = "") -> playwright_api.Page:
        self.page.goto(self.server.url + query)
        # The tab of the last visit: Train, or another one, which has no such button in sight.
        opened = self.page.locator("#train-start:not([disabled]), #inspect, #compare, #hub, #line")
        playwright_api.expect(opened.filter(visible=True).first).to_be_visible()
        return self.page

    def reload(self) -> None:
        """What is under way ends with the page, wherever it is."""
        before = len(self.complaints)
        self.page.reload()
        self.complaints[before:] = [text for text in self.complaints[before:] if not LEFT.search(text)]


@contextmanager
def visitors(chromium: playwright_api.Browser, server: Server) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors of a given window size; their windows share a browser profile, as at home."""
    contexts = []

    def new_visitor(width: int = 1280, height: int = 900, *, same_browser: bool = True) -> Visitor:
        if not contexts or not same_browser:
            contexts.append(chromium.new_context(viewport={"width": width, "height": height}))
        visitor = Visitor(contexts[-1], server)
        visitor.page.set_viewport_size({"width": width, "height": height})
        visitor.page.set_default_timeout(60_000)
        return visitor

    try:
        yield new_visitor
    finally:
        for context in contexts:
            context.close()


@pytest.fixture
def visit(chromium: playwright_api.Browser, server: Server) -> Iterator[Callable[..., Visitor]]:
    """`visitors` of one test. A page takes seconds to open: tests that leave it as it was share one."""
    with visitors(chromium, server) as new_visitor:
        yield new_visitor


@pytest.fixture
def runs_folder(trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runs folder of the page, with a copy of the trained run in it."""
    root = tmp_path / "runs"
    shutil.copytree(trained_run.path, root / trained_run.id)
    monkeypatch.setenv("ALTUB_RUNS", str(root))
    monkeypatch.setenv("ALTUB_DB", str(tmp_path / "labels.db"))  # the inspection log
    return root
