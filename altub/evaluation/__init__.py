"""Metrics, evaluation of a detector, comparison and re-scoring of runs, studies and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.evaluation.evaluate import evaluate_detector
    from altub.evaluation.metrics import Evaluator, Metrics
    from altub.evaluation.rescoring import Rescored, rescore

__all__ = ["Evaluator", "Metrics", "Rescored", "evaluate_detector", "rescore"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "evaluate_detector": ".evaluate",
        "Evaluator": ".metrics",
        "Metrics": ".metrics",
        "Rescored": ".rescoring",
        "rescore": ".rescoring",
    },
)
