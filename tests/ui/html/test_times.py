"""Time spans in words."""

from __future__ import annotations

import pytest

from altub.ui.html.times import duration


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (1800, "30 min"), (7300, "2 h 01 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
