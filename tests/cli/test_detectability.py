"""`python -m altub detectability` on a small trained run."""

from __future__ import annotations

import json
from pathlib import Path

from altub.evaluation.detectability import Detectability
from altub.runs.run import Run


def test_measured_and_written(altub, trained_run: Run, data_folder: Path, tmp_path: Path) -> None:
    options = ("--model", trained_run.model_dir, "--data", data_folder, "--category", "weave", "--device", "cpu")
    small = ("--trials", "4", "--kinds", "spot,colour", "--contrasts", "0.2,0.5", "--output", tmp_path / "out")
    ended = altub("detectability", *options, *small, "--json", "--mm-per-pixel", "0.5")
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    assert result["unit"] == "mm" and [(row["kind"], row["contrast"], row["trials"]) for row in result["curves"]] == [
        ("all", 0.2, 8),
        ("spot", 0.2, 4),
        ("colour", 0.2, 4),
        ("all", 0.5, 8),
        ("spot", 0.5, 4),
        ("colour", 0.5, 4),
    ]
    assert result["real"][0]["defect"] == "blot" and result["real"][0]["images"] == 4
    kept = Detectability.read(tmp_path / "out")
    assert len(kept.trials) == 16 and kept.summary() == result
    words = altub("detectability", *options, *small)
    assert "Synthetic defects are not real ones" in words.out and "a90/95" in words.out


def test_refused(altub, trained_run: Run, data_folder: Path) -> None:
    options = ("--model", trained_run.model_dir, "--data", data_folder, "--category", "weave")
    altub("detectability", *options, "--kinds", "dent").assert_refused("scratch, spot")
    altub("detectability", *options, "--contrasts", "high").assert_refused("contrast")
    altub("detectability", *options, "--mm-per-pixel", "0").assert_refused("above 0")
