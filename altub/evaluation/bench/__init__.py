"""How fast we are: a step and an epoch beside what is published, a training to equal quality, and how fast we start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.evaluation.bench.quality import QualityBench
    from altub.evaluation.bench.startup import run_startup
    from altub.evaluation.bench.steps import run_bench

__all__ = ["QualityBench", "run_bench", "run_startup"]

__getattr__, __dir__ = lazy_exports(
    __name__, {"QualityBench": ".quality", "run_startup": ".startup", "run_bench": ".steps"}
)
