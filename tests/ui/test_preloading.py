"""What is imported behind a page that was delivered: once, in a quiet moment, and not before."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from altub.ui import space
from altub.ui.launch import ServerOptions, middleware
from altub.ui.server.preloading import PRELOADED, Preloading
from tests.test_package import python

MODULES = ("preloaded_first", "preloaded_missing", "preloaded_last")


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (MODULES[0], MODULES[2]):
        (tmp_path / f"{name}.py").write_text("")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)


def imported() -> list[str]:
    return [name for name in MODULES if name in sys.modules]


async def wait_for(preloading: Preloading) -> None:
    for _ in range(500):
        if preloading.thread is not None:
            await asyncio.to_thread(preloading.thread.join)
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was begun")


def client(preloading: Preloading) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=preloading), base_url="http://localhost")


def test_begins_when_a_browser_has_the_page_and_skips_what_is_missing() -> None:
    async def visit() -> None:
        preloading = Preloading(PlainTextResponse("page"), MODULES, quiet=0.05)
        async with client(preloading) as browser:
            await browser.head("/")  # the server's own look at itself
            await browser.get("/assets/index.js")
            await asyncio.sleep(0.2)
            assert preloading.thread is None and not imported()
            for _ in range(2):
                assert (await browser.get("/")).text == "page"
            await asyncio.sleep(0.2)
            assert preloading.thread is None and not imported(), "no browser, which would ask for scripts"
            await browser.get("/assets/index.js")
            assert preloading.thread is None, "more may be asked for"
            await wait_for(preloading)
            first = preloading.thread
            await browser.get("/")
            await browser.get("/assets/index.js")
            await asyncio.sleep(0.2)
            assert preloading.thread is first, "once"

    asyncio.run(visit())
    assert imported() == [MODULES[0], MODULES[2]]


@pytest.mark.parametrize(("longest", "begun"), [(60.0, False), (0.1, True)])
def test_waits_for_a_quiet_moment_but_not_for_ever(longest: float, begun: bool) -> None:
    async def visit() -> None:
        preloading = Preloading(PlainTextResponse("page"), MODULES, quiet=30.0, longest=longest)
        async with client(preloading) as browser:
            await browser.get("/")
            for _ in range(20):
                await asyncio.sleep(0.02)
                await browser.get("/assets/index.js")
            assert (preloading.thread is not None) == begun

    asyncio.run(visit())


def test_all_that_is_preloaded_can_be_imported_by_itself() -> None:
    """In a process of its own: what is misspelt here would be left to the first request, in silence."""
    done = python("-c", f"from importlib import import_module\nfor name in {PRELOADED}: import_module(name)")
    assert done.returncode == 0, done.stderr


def test_pages_preload_but_for_those_that_are_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Preloading in [one.cls for one in middleware(ServerOptions())]
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert Preloading not in [one.cls for one in middleware(ServerOptions(space=True))]
    done = []
    monkeypatch.setattr(space, "zero_gpu_services", lambda: "services")
    monkeypatch.setattr(space, "install_starting_model", lambda: done.append("model"))
    monkeypatch.setattr("altub.ui.server.preloading.preload", lambda: done.append("preload"))
    monkeypatch.setattr("altub.ui.app.run", lambda arguments, services: done.append(services) or 0)
    assert space.main() == 0 and done == ["preload", "model", "services"]
    done.clear()
    monkeypatch.delenv("SPACES_ZERO_GPU")
    assert space.main() == 0 and done == ["model", None]


def test_requests_may_import_the_same_modules_meanwhile() -> None:
    others = ("altub.training.adaptation", "altub.line.moves", "altub.data.synthetic", "altub.evaluation.evaluate")
    program = (
        "import threading, traceback\n"
        "from importlib import import_module\n"
        "from altub.data import Category\n"
        "from altub.training.config import TrainingConfig\n"
        "from altub.training.preflight import examine\n"
        "from altub.ui.server.preloading import preload\n"
        "few = Category.from_images('lid', [bytes(9)] * 3)\n"
        "check = lambda: examine(TrainingConfig(category='lid', backbone='filter-bank'), few)\n"
        "together, failed = threading.Barrier(7), []\n"
        "def run(work):\n"
        "    together.wait()\n"
        "    try: work()\n"
        "    except BaseException: failed.append(traceback.format_exc())\n"
        f"work = [preload, check, check, *(lambda name=name: import_module(name) for name in {others})]\n"
        "threads = [threading.Thread(target=run, args=(one,)) for one in work]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "print(*failed, len(threads))"
    )
    done = python("-c", program)
    assert done.stdout.strip() == "7", done.stdout + done.stderr
