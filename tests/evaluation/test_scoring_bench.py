"""`bench --scoring` scores every file and counts right; how fast is measured, not asserted."""

from __future__ import annotations

import pytest

from altub.evaluation.bench import measure_scoring
from altub.runs.run import Run

pytestmark = pytest.mark.usefixtures("quick_processes")


def test_every_file_is_scored(trained_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("altub.evaluation.bench.scoring.DRAWN", 3)
    found = measure_scoring(trained_run.model_dir, images=20, threads=1)
    assert found.images == 20 and found.rate == 20 / found.seconds and found.share == found.rate / found.model_rate
    assert found.cpu_share == 20 * found.model_cpu_seconds / found.cpu_seconds < 1, "imports are most of it"
    assert found.peak_memory > 50 and found.cpu_seconds > 0 and "20 files of 128 px by 1 threads" in found.sentence()
