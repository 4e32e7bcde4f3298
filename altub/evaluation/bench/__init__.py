"""How fast we are: a step and an epoch beside what is published, a training to equal quality and scoring beside a peer,
the scoring of many files, and the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.evaluation.bench.quality import QualityBench
    from altub.evaluation.bench.scoring import measure_scoring
    from altub.evaluation.bench.scoring_peer import InferenceBench
    from altub.evaluation.bench.startup import run_startup
    from altub.evaluation.bench.steps import run_bench

__all__ = ["InferenceBench", "QualityBench", "measure_scoring", "run_bench", "run_startup"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "InferenceBench": ".scoring_peer",
        "QualityBench": ".quality",
        "measure_scoring": ".scoring",
        "run_startup": ".startup",
        "run_bench": ".steps",
    },
)
