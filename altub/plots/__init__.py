"""Pictures for the page, the command line and the model card: pure functions from arrays to images and figures.

`altub.plots.overlays` draws heatmaps and what lies over photos, `altub.plots.charts` scores and trainings, in the
colours of `altub.plots.palette`. Nothing of matplotlib is imported before something is drawn.
"""

from __future__ import annotations

from altub.plots.charts import channel_drift_image, figure_to_image, score_histogram, training_curves
from altub.plots.overlays import COLOUR_MAPS, colourise, defect_mask, overlay, placeholder, scale_maps_strip
from altub.plots.palette import BASE_PHASE, COLOURS, DEFECT, FLOW_PHASE, GOOD, HELD_OUT

__all__ = [
    "BASE_PHASE",
    "COLOURS",
    "COLOUR_MAPS",
    "DEFECT",
    "FLOW_PHASE",
    "GOOD",
    "HELD_OUT",
    "channel_drift_image",
    "colourise",
    "defect_mask",
    "figure_to_image",
    "overlay",
    "placeholder",
    "scale_maps_strip",
    "score_histogram",
    "training_curves",
]
