"""The measurement from file to verdict counts every picture and tells its parts."""

from __future__ import annotations

from altub.line.latency import measure_latency
from altub.runs.run import Run


def test_every_picture_gets_a_verdict_and_the_wait_is_part_of_the_time(line_run: Run) -> None:
    told: list[tuple[int, int]] = []
    found = measure_latency(
        line_run.model_dir, 3, settle=0.3, longest_pause=0.05, device="cpu", progress=lambda *done: told.append(done)
    )
    assert found.files == 3 and told == [(1, 3), (2, 3), (3, 3)]
    assert found.settle <= found.median <= found.p90 <= found.longest and found.inspection > 0
    assert "3 pictures" in found.sentence() and found.to_dict()["settle"] == 0.3
