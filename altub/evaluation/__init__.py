"""Metrics, evaluation of a detector, comparison of runs, studies and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.evaluation.evaluate import evaluate_detector
    from altub.evaluation.metrics import Evaluator, Metrics

__all__ = ["Evaluator", "Metrics", "evaluate_detector"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "evaluate_detector": ".evaluate",
        "Evaluator": ".metrics",
        "Metrics": ".metrics",
    },
)
