"""Images and masks from files, uploads and arrays, decoded the same way everywhere.

Every image ends as upright 8-bit RGB. The rules for what is not 8-bit RGB already:

* Orientation: the EXIF rotation is applied. Of an animation or a multi-page file the first frame is taken.
* Transparency (RGBA, LA, palettes with a transparent colour): composited on white.
* More than 8 bits, and floating point: `depth` says which value becomes 255. Negative values are 0.

Files are read by content, not by their ending; `formats` lists what is read, and `integrity` what is checked first.
How much is decoded at the same time in one process is bounded (`budget`), and what may take long is decoded in a
process of its own that has a time limit (`process`).
"""

from __future__ import annotations

from altub.data.images.budget import BUDGET, PixelBudget
from altub.data.images.depth import PixelRange, measure_pixel_range
from altub.data.images.formats import IMAGE_SUFFIXES, is_image_file
from altub.data.images.masks import read_mask, resize_mask
from altub.data.images.reading import opened, opened_in_chunks, read_image, read_thumbnail
from altub.data.images.sources import ImageSource
from altub.data.images.tensors import to_tensor

__all__ = [
    "BUDGET",
    "IMAGE_SUFFIXES",
    "ImageSource",
    "PixelBudget",
    "PixelRange",
    "is_image_file",
    "measure_pixel_range",
    "opened",
    "opened_in_chunks",
    "read_image",
    "read_mask",
    "read_thumbnail",
    "resize_mask",
    "to_tensor",
]
