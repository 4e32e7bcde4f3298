"""A prediction drawn over its photo, with everything that a verdict shows."""

from __future__ import annotations

from typing import Any

from PIL import Image

from altub.inference.calibration import Calibration
from altub.inference.prediction import Prediction, Verdict
from altub.plots import overlay

__all__ = ["draw_verdict"]


def draw_verdict(
    photo: Image.Image, prediction: Prediction, verdict: Verdict, calibration: Calibration, **look: Any
) -> Image.Image:
    """The photo with heatmap, outline of what is marked, and limits of the regions, RGB at the photo's size.

    Args:
        photo: scaled down or not.
        calibration: of the model, which the colours' range comes from.
        look: opacity, colour_map and contour of `altub.plots.overlay`.
    """
    return overlay(
        photo,
        prediction.model_map,
        *calibration.colour_range,
        threshold=verdict.pixel_value,
        regions=prediction.regions,
        **look,
    )
