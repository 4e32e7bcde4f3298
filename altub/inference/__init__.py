"""From a trained model to maps, scores, verdicts and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.inference.calibration import Calibration, Threshold
    from altub.inference.config import DetectorConfig
    from altub.inference.detector import AnomalyDetector, Prediction

__all__ = ["AnomalyDetector", "Calibration", "DetectorConfig", "Prediction", "Threshold"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Calibration": ".calibration",
        "Threshold": ".calibration",
        "DetectorConfig": ".config",
        "AnomalyDetector": ".detector",
        "Prediction": ".detector",
    },
)
