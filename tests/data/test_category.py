"""Choosing among the samples of a category."""

from __future__ import annotations

from pathlib import Path

from altub.data.category import Sample, interleave_defects


def test_defects_take_turns_and_good_images_are_left_out() -> None:
    defects = ["bent", "bent", "bent", "good", "hole", "scratch", "scratch"]
    samples = [Sample(Path(f"{position}.png"), defect) for position, defect in enumerate(defects)]
    assert interleave_defects(samples) == [0, 4, 5, 1, 6, 2]
    assert interleave_defects([]) == interleave_defects([samples[3]]) == []
