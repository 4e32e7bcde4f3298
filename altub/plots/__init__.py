"""Pictures for the page, the command line and the model card: pure functions from arrays to images and figures.

`altub.plots.overlays` draws heatmaps and contours over photos, `altub.plots.charts` the course of a training, in the
colours of `altub.plots.palette`. matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

from altub.plots.charts import channel_drift_image, figure_to_image, training_curves
from altub.plots.overlays import COLOUR_MAPS, colourise, heat_layer, overlay, placeholder
from altub.plots.palette import (
    BASE_PHASE,
    BORDERLINE,
    COLOURS,
    DEFECT,
    FLOW_PHASE,
    GOOD,
    HELD_OUT,
    NOT_COMPARABLE,
)

__all__ = [
    "BASE_PHASE",
    "BORDERLINE",
    "COLOURS",
    "COLOUR_MAPS",
    "DEFECT",
    "FLOW_PHASE",
    "GOOD",
    "HELD_OUT",
    "NOT_COMPARABLE",
    "channel_drift_image",
    "colourise",
    "figure_to_image",
    "heat_layer",
    "overlay",
    "placeholder",
    "training_curves",
]
