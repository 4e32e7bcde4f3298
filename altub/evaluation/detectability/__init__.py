"""Detectability: the smallest defects that a model finds, by synthetic defects on good images it was not trained on.

`measure` draws defects and lets the model look, `pod` fits the probability of detection over size, `record` keeps what
was found, `report` tells it; `unseen` finds the good images, and `coverage` checks the bounds by simulation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.evaluation.detectability.measure import Plan, measure_detectability
    from altub.evaluation.detectability.pod import PodCurve, fit_pod
    from altub.evaluation.detectability.record import Detectability, RealDefect, Trial
    from altub.evaluation.detectability.unseen import unseen_good

__all__ = [
    "Detectability",
    "Plan",
    "PodCurve",
    "RealDefect",
    "Trial",
    "fit_pod",
    "measure_detectability",
    "unseen_good",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Detectability": ".record",
        "Plan": ".measure",
        "PodCurve": ".pod",
        "RealDefect": ".record",
        "Trial": ".record",
        "fit_pod": ".pod",
        "measure_detectability": ".measure",
        "unseen_good": ".unseen",
    },
)
