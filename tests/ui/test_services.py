"""What the visitors of a page share, and that two pages share nothing."""

from __future__ import annotations

import copy
import importlib
import threading
import time
from pathlib import Path

import gradio as gr
import pytest

from altub.errors import ConfigError
from altub.inference.model_cache import ModelCache
from altub.runs.following import Following
from altub.runs.launchers.base import LocalLauncher
from altub.runs.run import Run
from altub.training.config import make_config
from altub.ui.app import build_app
from altub.ui.background import BackgroundTask
from altub.ui.inspect.sessions import SessionStore
from altub.ui.services import Services
from altub.ui.watch import RunWatch
from tests.sources import modules

CONFIG = make_config(category="weave")
LOCKS = (threading.Event, type(threading.Lock()), type(threading.RLock()))
STATE = (BackgroundTask, Following, ModelCache, RunWatch, Services, SessionStore, *LOCKS)


class Slow(LocalLauncher):
    """Takes its time, so that two visitors are there at once."""

    def __init__(self) -> None:
        self.started: list[Run] = []

    def start(self, run: Run) -> None:
        time.sleep(0.05)
        self.started.append(run)


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALTUB_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def begin(demo: gr.Blocks) -> str:
    """A new visitor of the Inspect tab; the id of their session."""
    handler = next(block.fn for block in demo.fns.values() if getattr(block.fn, "__name__", "") == "begin")
    return handler("")[0]


def test_two_pages_share_nothing() -> None:
    one, other = Services(), Services()
    pages = build_app(services=one), build_app(services=other)
    session = begin(pages[0])
    assert one.sessions.knows(session) and not other.sessions.knows(session)
    for name, value in vars(one).items():
        assert value is None or value is not getattr(other, name), name


def test_pages_without_given_services_have_their_own() -> None:
    first, second = build_app(), build_app()
    handlers = [
        next(block.fn for block in page.fns.values() if getattr(block.fn, "__name__", "") == "begin").__self__
        for page in (first, second)
    ]
    assert handlers[0].services is not handlers[1].services


def test_no_module_of_the_page_holds_state() -> None:
    rooms = ("altub.ui", "altub.deploy.server", "altub.runs")
    for name in modules():
        if name.startswith(rooms):
            held = [key for key, value in vars(importlib.import_module(name)).items() if isinstance(value, STATE)]
            assert not held, f"{name}: {held}"


def test_every_state_of_a_visitor_can_be_copied() -> None:
    states = [block for block in build_app().blocks.values() if isinstance(block, gr.State)]
    assert states
    for state in states:
        copy.deepcopy(state.value)


def test_the_last_place_in_the_queue_goes_to_one_visitor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_MAX_QUEUE", "0")
    monkeypatch.setenv("ALTUB_JOBS", "1")
    launcher = Slow()
    services, refused = Services(launcher), []

    def start() -> None:
        try:
            services.start_training(CONFIG, None)
        except ConfigError as error:
            refused.append(str(error))

    visitors = [threading.Thread(target=start) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert len(launcher.started) == 1 and len(refused) == 3
    assert [view.id for view in services.watch.views()] == [launcher.started[0].id]


def test_stop_and_resume_are_seen_at_once(runs: Path) -> None:
    launcher = Slow()
    services = Services(launcher)
    run = services.start_training(CONFIG, None)
    assert services.watch.view(run.id).state == "queued"
    assert "nothing is lost" in services.stop_training(run, None)
    with run.changing_status() as status:
        status.to_stopped()
    assert services.watch.view(run.id).state == "stopped"
    services.resume_training(run, None)
    assert services.watch.view(run.id).state == "queued" and launcher.started == [run, run]
