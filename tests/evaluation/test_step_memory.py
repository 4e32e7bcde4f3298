"""Both ways of the measurement train the same flow on the same features."""

from __future__ import annotations

import pytest

from altub.evaluation.step_memory import FEATURES, measure_step
from altub.flows.coupling import CouplingStep

pytestmark = pytest.mark.usefixtures("quick_processes")


@pytest.mark.parametrize("features", FEATURES)
def test_both_ways_learn_the_same(features: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    unwind = CouplingStep.unwind
    monkeypatch.setattr(
        CouplingStep, "unwind", lambda *given, **options: calls.append(None) or unwind(*given, **options)
    )
    given = {"size": 32, "images": 2, "steps": 2, "precision": "fp32"}
    stored = measure_step(features, recompute=False, **given)
    assert not calls
    again = measure_step(features, recompute=True, **given)
    assert len(calls) == 2 * 3 * 3, "two coupling steps of three scales, in one update before and two measured ones"
    assert len(stored["losses"]) == 2 and again["losses"] == pytest.approx(stored["losses"], rel=1e-5)
    assert min(stored["seconds"], again["seconds"]) > 0 <= min(stored["mebibytes"], again["mebibytes"])
