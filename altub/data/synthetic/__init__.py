"""Synthetic defects of known area and contrast, drawn on images of good parts.

They stand for real defects where there are none yet: to measure which sizes a model finds, and to choose between
models. They are not real defects.
"""

from __future__ import annotations

from altub.data.synthetic.defects import (
    DEFECT_KINDS,
    Drawn,
    contrast_of,
    draw_colour_drift,
    draw_cut_paste,
    draw_defect,
    draw_scratch,
    draw_spot,
    draw_texture,
)
from altub.data.synthetic.part import find_part

__all__ = [
    "DEFECT_KINDS",
    "Drawn",
    "contrast_of",
    "draw_colour_drift",
    "draw_cut_paste",
    "draw_defect",
    "draw_scratch",
    "draw_spot",
    "draw_texture",
    "find_part",
]
