"""How fast we are: a step and an epoch beside what is published and a peer's, a training to equal quality, scoring and
the start beside a peer's, and the scoring of many files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.evaluation.bench.quality import QualityBench
    from altub.evaluation.bench.scoring import measure_scoring
    from altub.evaluation.bench.scoring_peer import InferenceBench
    from altub.evaluation.bench.startup import run_startup
    from altub.evaluation.bench.steps import StepBench

__all__ = ["InferenceBench", "QualityBench", "StepBench", "measure_scoring", "run_startup"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "InferenceBench": ".scoring_peer",
        "QualityBench": ".quality",
        "StepBench": ".steps",
        "measure_scoring": ".scoring",
        "run_startup": ".startup",
    },
)
