"""Data sets: categories of good and defective images: MVTec AD, BTAD, VisA, plain folders, or built in.

`list_categories` and `load_category` are the way in; `download_mvtec` and `make_sample` write data;
`read_image`, `read_mask` and `to_tensor` turn files into pixels.
"""

from __future__ import annotations

from altub.data.catalog import list_categories, load_category
from altub.data.category import MEMORY, Category, Sample
from altub.data.download import MVTEC_LICENCE, MVTEC_PAGE, download_mvtec
from altub.data.fetch import DownloadStoppedError, Progress
from altub.data.images import ImageSource, is_image_file, read_image, read_mask, to_tensor
from altub.data.layouts.mvtec import MVTEC_CATEGORIES
from altub.data.sample import SAMPLE_CATEGORIES, make_sample, render_example
from altub.data.sources import Source

__all__ = [
    "MEMORY",
    "MVTEC_CATEGORIES",
    "MVTEC_LICENCE",
    "MVTEC_PAGE",
    "SAMPLE_CATEGORIES",
    "Category",
    "DownloadStoppedError",
    "ImageSource",
    "Progress",
    "Sample",
    "Source",
    "download_mvtec",
    "is_image_file",
    "list_categories",
    "load_category",
    "make_sample",
    "read_image",
    "read_mask",
    "render_example",
    "to_tensor",
]
