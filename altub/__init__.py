"""AltUB: defect detection with normalizing flows on a learnable, alternately updated base.

    from altub import AnomalyDetector, Run, make_config, train

    run = Run.create("runs/bottle", make_config(data="data/mvtec", category="bottle"))
    for event in train(run):
        print(event.status.stage)
    detector = AnomalyDetector.load(run.model_dir)
    prediction = detector.predict("part.png")

Method: Kim, Jang, Lee, Choi, "AltUB: Alternating Training Method to Update Base Distribution of Normalizing Flow for
Anomaly Detection", 2022, https://arxiv.org/abs/2210.14913.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from altub.errors import AltUBError
from altub.version import __version__

if TYPE_CHECKING:
    from altub.config import PRESETS, TrainingConfig, make_config
    from altub.data import list_categories, load_category
    from altub.detector import AnomalyDetector, Prediction
    from altub.runs import Run, list_runs
    from altub.training import train

__all__ = [
    "PRESETS",
    "AltUBError",
    "AnomalyDetector",
    "Prediction",
    "Run",
    "TrainingConfig",
    "__version__",
    "list_categories",
    "list_runs",
    "load_category",
    "make_config",
    "train",
]

# Loaded when first used: torch and timm take seconds, and `python -m altub --help` needs neither.
_HOMES = {
    "PRESETS": "altub.config",
    "AnomalyDetector": "altub.detector",
    "Prediction": "altub.detector",
    "Run": "altub.runs",
    "TrainingConfig": "altub.config",
    "list_categories": "altub.data",
    "list_runs": "altub.runs",
    "load_category": "altub.data",
    "make_config": "altub.config",
    "train": "altub.training",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'altub' has no attribute {name!r}")
