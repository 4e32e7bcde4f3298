"""Detectability on the model card: of exactly these weights, and no image without being asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from altub.evaluation.detectability import Detectability, Trial
from altub.evaluation.detectability.examples import EXAMPLES_FILE
from altub.evaluation.detectability.report import CHART_FILE, FOLDER, write_report
from altub.hub.card import make_card
from altub.hub.detectability import detectability_pictures, detectability_section, read_detectability
from altub.inference.info import ModelInfo
from altub.inference.threshold import Threshold
from tests.inference.detectors import untrained

WEIGHTS = "0" * 64


@pytest.fixture
def measured() -> Detectability:
    """Spots of 1 to 400 pixels, of which those from 50 on are found, some smaller ones too."""
    trials = [
        Trial(
            kind="spot",
            contrast=0.25,
            area=int(area),
            image=k % 5,
            hit=area > 50 or k % 7 == 0,
            by_chance=False,
            score=0.0,
        )
        for k, area in enumerate(np.geomspace(1, 400, 60).round())
    ]
    threshold = Threshold.fixed(1, 1).to_dict()
    told = {"category": "weave", "promise": "At most 5 % of good images.", "good_scores": [0.0] * 5}
    return Detectability(**told, threshold=threshold, false_alarms=0, trials=trials, weights_sha256=WEIGHTS)


def test_section_of_these_weights_alone(measured: Detectability, tmp_path: Path) -> None:
    assert read_detectability(tmp_path, WEIGHTS) is None
    write_report(tmp_path / FOLDER, measured)
    found = read_detectability(tmp_path, WEIGHTS)
    assert found == measured and read_detectability(tmp_path, "1" * 64) is None, "the model was trained again since"
    section = detectability_section(found)
    card = make_card(ModelInfo(category="weave"), untrained().config, "anna/weave", "mit", {}, section)
    hits = sum(trial.hit for trial in measured.trials)
    assert f"| 0.25 | spot | {hits} of 60 |" in card and "Synthetic defects are not real ones" in card
    assert card.index("How good it is") < card.index("Smallest defects") < card.index("What it was trained on")
    assert "people labelled good" not in card
    card = make_card(ModelInfo(category="weave"), untrained().config, "anna/weave", "mit", {}, joined=12)
    assert "p-values come from good images and 12 that people labelled good, that were never trained on" in card
    (tmp_path / FOLDER / "detectability.json").write_text("[]")
    assert read_detectability(tmp_path, WEIGHTS) is None


def test_only_the_chart_unless_examples_are_asked_for(measured: Detectability, tmp_path: Path) -> None:
    write_report(tmp_path / FOLDER, measured)
    (tmp_path / FOLDER / EXAMPLES_FILE).write_bytes(b"an image")
    assert list(detectability_pictures(tmp_path, False)) == [CHART_FILE]
    assert list(detectability_pictures(tmp_path, True)) == [CHART_FILE, EXAMPLES_FILE]
    assert detectability_pictures(tmp_path, False)[CHART_FILE][1].startswith(b"\x89PNG")
