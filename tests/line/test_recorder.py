"""The page's part of the inspection log: it is bounded in time, can be turned off, and stops no inspection."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from altub.errors import LabelError
from altub.labels.inspections import Inspection, InspectionLog
from altub.line.recorder import Recorder

ONE = Inspection("page", None, "a.png", "f" * 64, "m" * 64, None, "good", 1.0, 0.5, 2.0, "", 1_700_000_000.0)


def test_what_is_too_old_is_forgotten_and_nothing_is_kept_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = InspectionLog(tmp_path / "labels.db")
    recorder = Recorder(lambda: log)
    recorder.add([ONE, replace(ONE, at=4e9)])
    assert len(log) == 2
    monkeypatch.setenv("ALTUB_LOG_DAYS", "30")
    recorder.add([replace(ONE, at=4e9)])
    assert [one.at for one in log.all()] == [4e9, 4e9]
    monkeypatch.setenv("ALTUB_LOG_DAYS", "0")
    recorder.add([ONE])
    monkeypatch.delenv("ALTUB_LOG_DAYS")
    Recorder(lambda: log, enabled=False).add([ONE])
    assert len(log) == 2


def test_a_log_that_cannot_be_written_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    def damaged() -> InspectionLog:
        raise LabelError("labels.db is damaged.")

    recorder = Recorder(damaged)
    with caplog.at_level(logging.WARNING):
        recorder.add([ONE])
        recorder.add([ONE])
    assert [record.getMessage() for record in caplog.records] == [
        "The inspection log is not written: labels.db is damaged."
    ]
