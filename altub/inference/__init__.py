"""From a trained model to maps, scores, verdicts and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.inference.calibration import Calibration
    from altub.inference.config import DetectorConfig
    from altub.inference.detector import AnomalyDetector, MapSource
    from altub.inference.prediction import Prediction, Verdict
    from altub.inference.threshold import DEFAULT_FALSE_ALARM_RATE, Threshold

__all__ = [
    "DEFAULT_FALSE_ALARM_RATE",
    "AnomalyDetector",
    "Calibration",
    "DetectorConfig",
    "MapSource",
    "Prediction",
    "Threshold",
    "Verdict",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "DEFAULT_FALSE_ALARM_RATE": ".threshold",
        "AnomalyDetector": ".detector",
        "Calibration": ".calibration",
        "DetectorConfig": ".config",
        "MapSource": ".detector",
        "Prediction": ".prediction",
        "Threshold": ".threshold",
        "Verdict": ".prediction",
    },
)
