"""Work that outlives the click that began it."""

from __future__ import annotations

import threading
import time
from typing import Any

from altub.errors import DataError
from altub.ui.background import BackgroundTask


def test_one_task_at_a_time_with_its_progress() -> None:
    task, gate = BackgroundTask("Test"), threading.Event()

    def work(report: Any, should_stop: Any) -> str:
        report(0.25, "a quarter")
        gate.wait(10)
        return "all of it"

    assert task.start(work)
    assert not task.start(work)
    while task.fraction is None:
        time.sleep(0.001)
    assert "25" in task.version and task.is_running
    gate.set()
    task.wait(10)
    assert (task.state, task.text) == ("done", "all of it")


def test_a_task_fails_in_words() -> None:
    def known(report: Any, should_stop: Any) -> str:
        raise DataError("The source is dead.")

    def bug(report: Any, should_stop: Any) -> str:
        raise KeyError("secret detail")

    task = BackgroundTask("The download")
    task.start(known)
    task.wait(10)
    assert (task.state, task.text) == ("failed", "The source is dead.")
    task.start(bug)
    task.wait(10)
    assert task.state == "failed" and "secret" not in task.text


def test_a_task_can_be_asked_to_stop() -> None:
    def work(report: Any, should_stop: Any) -> str:
        while not should_stop():
            time.sleep(0.001)
        raise DataError("Stopped.")

    task = BackgroundTask("The download")
    task.start(work)
    task.stop()
    task.wait(10)
    assert task.text == "Stopped."
