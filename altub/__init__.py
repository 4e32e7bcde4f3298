"""AltUB: defect detection with normalizing flows on a learnable, alternately updated base.

    from altub import AnomalyDetector, Run, make_config, train

    run = Run.create("runs/bottle", make_config(data="data/mvtec", category="bottle"))
    for event in train(run):
        print(event.status.stage)
    detector = AnomalyDetector.load(run.model_dir)
    verdict = detector.predict("part.png").at(detector.threshold)

Method: Kim, Jang, Lee, Choi, "AltUB: Alternating Training Method to Update Base Distribution of Normalizing Flow for
Anomaly Detection", 2022, https://arxiv.org/abs/2210.14913.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.errors import AltUBError
from altub.lazy import lazy_exports
from altub.version import __version__

if TYPE_CHECKING:
    from altub.backbones.registry import register_backbone
    from altub.data import list_categories, load_category
    from altub.flows.head import FlowHead
    from altub.flows.registry import register_flow
    from altub.inference.detector import AnomalyDetector
    from altub.inference.prediction import Prediction
    from altub.inference.threshold import Threshold
    from altub.runs.run import Run, list_runs
    from altub.training.config import PRESETS, TrainingConfig, make_config
    from altub.training.loop import train

__all__ = [
    "PRESETS",
    "AltUBError",
    "AnomalyDetector",
    "FlowHead",
    "Prediction",
    "Run",
    "Threshold",
    "TrainingConfig",
    "__version__",
    "list_categories",
    "list_runs",
    "load_category",
    "make_config",
    "register_backbone",
    "register_flow",
    "train",
]

# Loaded when first used: torch and timm take seconds, and `python -m altub --help` needs neither.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "PRESETS": ".training.config",
        "AnomalyDetector": ".inference.detector",
        "FlowHead": ".flows.head",
        "Prediction": ".inference.prediction",
        "Run": ".runs.run",
        "Threshold": ".inference.threshold",
        "TrainingConfig": ".training.config",
        "list_categories": ".data",
        "list_runs": ".runs.run",
        "load_category": ".data",
        "make_config": ".training.config",
        "register_backbone": ".backbones.registry",
        "register_flow": ".flows.registry",
        "train": ".training.loop",
    },
)
