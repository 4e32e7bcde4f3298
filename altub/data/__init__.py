"""Data sets: categories of good and defective images: MVTec AD, BTAD, VisA, plain folders, or built in.

`list_categories` and `load_category` are the way in; `download_mvtec` and `make_sample` write data;
`read_image`, `read_mask` and `to_tensor` turn files into pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.data.catalog import list_categories, load_category
    from altub.data.category import MEMORY, Category, Sample
    from altub.data.download import MVTEC_LICENCE, MVTEC_PAGE, download_mvtec
    from altub.data.fetch import DownloadStoppedError, Progress
    from altub.data.images import (
        ImageSource,
        PixelRange,
        is_image_file,
        opened,
        opened_in_chunks,
        read_image,
        read_mask,
        read_thumbnail,
        to_tensor,
    )
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
    "PixelRange",
    "Progress",
    "Sample",
    "Source",
    "download_mvtec",
    "is_image_file",
    "list_categories",
    "load_category",
    "make_sample",
    "opened",
    "opened_in_chunks",
    "read_image",
    "read_mask",
    "read_thumbnail",
    "render_example",
    "to_tensor",
]

# Loaded when first used: the process that decodes pictures needs only `images`, and starts four times as fast.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "MEMORY": ".category",
        "MVTEC_CATEGORIES": ".layouts.mvtec",
        "MVTEC_LICENCE": ".download",
        "MVTEC_PAGE": ".download",
        "SAMPLE_CATEGORIES": ".sample",
        "Category": ".category",
        "DownloadStoppedError": ".fetch",
        "ImageSource": ".images",
        "PixelRange": ".images",
        "Progress": ".fetch",
        "Sample": ".category",
        "Source": ".sources",
        "download_mvtec": ".download",
        "is_image_file": ".images",
        "list_categories": ".catalog",
        "load_category": ".catalog",
        "make_sample": ".sample",
        "opened": ".images",
        "opened_in_chunks": ".images",
        "read_image": ".images",
        "read_mask": ".images",
        "read_thumbnail": ".images",
        "render_example": ".sample",
        "to_tensor": ".images",
    },
)
