"""How fast we start is measured, not asserted."""

from __future__ import annotations

import pytest

from altub.evaluation.bench import run_startup, startup


def test_each_start_has_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "find_spec", lambda name: None)
    found = run_startup(repeats=1)
    assert list(found) == ["import altub", "altub --help", "page answers"] and found["page answers"] is None
    assert all(seconds > 0 for seconds in found.values() if seconds is not None)
