"""The colours of the charts and the page, each with one meaning throughout.

The palette of Okabe and Ito, distinguishable with the common kinds of colour blindness ("Color Universal Design",
2008, https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

__all__ = [
    "BASE_PHASE",
    "BORDERLINE",
    "COLOURS",
    "DEFECT",
    "FLOW_PHASE",
    "GOOD",
    "HELD_OUT",
    "NOT_COMPARABLE",
    "inks",
]

FLOW_PHASE = "#0072B2"  # blue: the flow trains; also the training loss
BASE_PHASE = "#E69F00"  # orange: the base N(mu, Sigma) trains
GOOD = "#009E73"  # bluish green: good images, verdict good
DEFECT = "#D55E00"  # vermilion: defects, verdict anomalous
HELD_OUT = "#56B4E9"  # sky blue: good images not used for training
BORDERLINE = "#F0E442"  # yellow: verdict borderline
NOT_COMPARABLE = "#CC79A7"  # reddish purple: images that cannot be compared with the training images
COLOURS = {
    "flow": FLOW_PHASE,
    "base": BASE_PHASE,
    "good": GOOD,
    "borderline": BORDERLINE,
    "defect": DEFECT,
    "not_comparable": NOT_COMPARABLE,
    "held_out": HELD_OUT,
}


def inks(dark: bool) -> tuple[str, str]:
    """Colours of text and of secondary lines."""
    return ("#E5E7EB", "#9CA3AF") if dark else ("#1F2937", "#6B7280")
