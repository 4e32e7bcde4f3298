"""Is a picture comparable with the training images, or was it taken of something else, or in another way?

A detector finds what differs from good images. A grey copy of a good image, another product or a strongly compressed
file differs everywhere, and "defect" would be the wrong word for it. `statistics` measures whole pictures, `limits`
says which numbers are still usual, `check` gives the reasons.
"""

from __future__ import annotations

from altub.inference.comparability.check import Comparability
from altub.inference.comparability.statistics import picture_statistics

__all__ = ["UNCHECKED", "Comparability", "picture_statistics"]

#: Shown where a model has no check.
UNCHECKED = (
    "This model is of an earlier version, which did not compare whole images with the training images: an image of "
    "something else is called a defect. Train it again to have that told."
)
