"""Images whose size is known and that are not decoded yet, so that room can be made for them first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from altub import settings
from altub.data.images.conversion import array_to_8_bit, to_grey_or_rgb
from altub.data.images.depth import PixelRange, is_deep, white_of_file
from altub.data.images.formats import FORMATS, LARGE_PIXELS, check_size, too_large
from altub.data.images.integrity import Findings, check_integrity
from altub.data.images.process import decode_in_process
from altub.data.images.sources import Encoded, ImageSource, open_encoded
from altub.errors import ImageError
from altub.files import printable

__all__ = ["Pending", "Rules", "pending"]

# Pillow takes memory in blocks of this size, 16 MiB by default. glibc gives a block of more than 32 MiB back to the
# operating system as soon as it is freed; smaller ones pile up in each thread's part of the heap.
_PILLOW_BLOCK = 64 << 20
Image.core.set_block_size(_PILLOW_BLOCK)

# How much longer than PNG or JPEG these take for a pixel, roughly; and how many scans of a JPEG cost as much as one.
_SLOWNESS = {"JPEG2000": 5, "AVIF": 2, "WEBP": 2}
_CHEAP_SCANS = 10
_ORIENTATION, _TRANSPOSED = 0x0112, range(2, 9)  # EXIF; 1 is upright
_ACROSS = range(5, 9)  # of them those that exchange width and height

#: Times the size that is wanted, to which a JPEG is decoded at least: what scales it from there smooths it well enough.
MARGIN = 2


@dataclass(frozen=True)
class Rules:
    """How an image is read.

    Attributes:
        max_pixels: images with more are refused.
        pixel_range: white of deep images; see `altub.data.images.depth`.
        fit: scale down to within this many pixels in width and height; None: the image's own size.
        enough: a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as `MARGIN` times this many
            pixels are left in width and height; None: at its own size.
        apart: decode in another process what may take long.
    """

    max_pixels: int
    pixel_range: PixelRange | None = None
    fit: int | None = None
    enough: int | None = None
    apart: bool = True

    @classmethod
    def of(
        cls,
        *,
        max_pixels: int | None = None,
        pixel_range: PixelRange | None = None,
        fit: int | None = None,
        enough: int | None = None,
    ) -> Rules:
        """The same with `settings.max_pixels` where `max_pixels` is None."""
        return cls(settings.max_pixels() if max_pixels is None else max_pixels, pixel_range, fit, enough)

    @property
    def least(self) -> int | None:
        """Pixels of width and height that a JPEG must still have when it is decoded; None: all of its own."""
        least = self.fit or self.enough
        return None if least is None else MARGIN * least


class Pending(ABC):
    """An image that was not decoded yet.

    Args:
        name: to use in messages.
        size: (width, height), as stored.
        rules: how to read it.

    Raises:
        ImageError: the size is refused.
    """

    def __init__(self, name: str, size: tuple[int, int], rules: Rules) -> None:
        check_size(size, rules.max_pixels, name)
        self.name, self.size, self.rules = name, size, rules

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) of what `read` gives where nothing is scaled."""
        return self.size

    def read(self) -> Image.Image:
        """Upright, 8-bit grey ("L") or "RGB", by the rules.

        Raises:
            ImageError: damaged, or what cannot be shown as RGB.
        """
        return _shrunk(to_grey_or_rgb(self.load(), self.name, self.rules.pixel_range), self.rules.fit)

    @abstractmethod
    def load(self) -> Image.Image:
        """Upright, in the file's own mode.

        Raises:
            ImageError: damaged.
        """

    def is_source(self, image: Image.Image) -> bool:
        """Is this the very image that was given, which belongs to others?"""
        return False

    @abstractmethod
    def deep_values(self) -> np.ndarray | None:
        """The values, where they have more than 8 bits and nothing says which one is white."""


class _PendingArray(Pending):
    def __init__(self, array: np.ndarray, rules: Rules) -> None:
        name = "The image array"
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or array.size == 0:
            raise ImageError(f"{name} has shape {array.shape}: it must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).")
        super().__init__(name, (array.shape[1], array.shape[0]), rules)
        self._array = array

    def load(self) -> Image.Image:
        values = array_to_8_bit(self._array, self.name, self.rules.pixel_range)
        return Image.fromarray(np.ascontiguousarray(values))

    def deep_values(self) -> np.ndarray | None:
        return self._array if self._array.dtype != np.uint8 and self._array.dtype.kind in "iuf" else None


class _PendingImage(Pending):
    """A Pillow image: left as it is, but that its file may be read."""

    def __init__(self, image: Image.Image, rules: Rules) -> None:
        super().__init__(printable(Path(getattr(image, "filename", "") or "The image").name), image.size, rules)
        self._image = image

    def is_source(self, image: Image.Image) -> bool:
        return image is self._image

    @property
    def upright_size(self) -> tuple[int, int]:
        return _turned(self.size, self._image)

    def load(self) -> Image.Image:
        with _explained(self.name, self.rules.max_pixels):
            self._image.load()
            image = self._image if self.rules.fit is None else self._image.copy()  # which is then scaled in place
            return _upright(image, self._image.format)

    def deep_values(self) -> np.ndarray | None:
        if not is_deep(self._image) or white_of_file(self._image) is not None:
            return None
        return np.asarray(self.load())


class _PendingFile(Pending):
    def __init__(self, encoded: Encoded, image: Image.Image, findings: Findings, rules: Rules) -> None:
        super().__init__(encoded.name, image.size, rules)
        self._encoded, self._image, self._findings = encoded, image, findings

    @property
    def upright_size(self) -> tuple[int, int]:
        with _explained(self.name, self.rules.max_pixels):  # damaged EXIF data
            return _turned(self.size, self._image)

    @property
    def may_take_long(self) -> bool:
        slowness = _SLOWNESS.get(self._image.format or "", 1)
        return self.pixels * slowness * max(1, self._findings.passes / _CHEAP_SCANS) > LARGE_PIXELS

    def read(self) -> Image.Image:
        if self.rules.apart and self.may_take_long:
            rules = self.rules
            return decode_in_process(
                self._encoded,
                max_pixels=rules.max_pixels,
                pixel_range=rules.pixel_range,
                fit=rules.fit,
                enough=rules.enough,
            )
        return super().read()

    def load(self) -> Image.Image:
        with _explained(self.name, self.rules.max_pixels):
            if (least := self.rules.least) is not None and self._image.format in ("JPEG", "MPO"):
                self._image.draft(None, (least, least))
            self._image.load()
            check_size(self._image.size, self.rules.max_pixels, self.name)
            return _upright(self._image, self._image.format)

    def deep_values(self) -> np.ndarray | None:
        if not is_deep(self._image) or white_of_file(self._image) is not None:
            return None
        return np.asarray(self.load())


@contextmanager
def pending(source: ImageSource | BinaryIO, rules: Rules) -> Iterator[Pending]:
    """The image behind a source, whose file is open for as long as the block lasts.

    Raises:
        ImageError: not an image, damaged or cut off as far as can be seen before decoding, empty, or too large.
    """
    if isinstance(source, np.ndarray):
        yield _PendingArray(source, rules)
    elif isinstance(source, Image.Image):
        yield _PendingImage(source, rules)
    else:
        with open_encoded(source) as encoded:
            findings = check_integrity(encoded)
            with _open(encoded, rules.max_pixels) as image:
                yield _PendingFile(encoded, image, findings, rules)


def _open(encoded: Encoded, limit: int) -> Image.Image:
    """What Pillow knows of the file before it decodes it."""
    # Pillow warns above its own limit and refuses above twice that; ours decides where it is the larger one.
    if Image.MAX_IMAGE_PIXELS is not None and limit > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limit
    try:
        return Image.open(encoded.file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(too_large(encoded.name, "far too many", limit)) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{encoded.name} is not an image that can be read: use PNG, JPEG, TIFF, BMP or WebP."
        ) from error
    except Exception as error:  # a damaged header makes Pillow's readers raise almost anything
        raise ImageError(
            f"{encoded.name} is damaged and cannot be read as an image: save or export it again."
        ) from error


@contextmanager
def _explained(name: str, limit: int) -> Iterator[None]:
    """Turns what Pillow raises while it decodes into sentences."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(too_large(name, "far too many", limit)) from error
    except MemoryError as error:
        raise ImageError(f"{name} does not fit in memory: use a smaller image.") from error
    except Exception as error:  # damaged pixel data makes Pillow's decoders raise almost anything
        raise ImageError(f"{name} is damaged or cut off: copy or export it again.") from error


def _upright(image: Image.Image, kind: str | None) -> Image.Image:
    """The image itself, turned as its EXIF data say; not copied where they say nothing."""
    if image.getexif().get(_ORIENTATION) in _TRANSPOSED:
        image = ImageOps.exif_transpose(image)
    image.format = kind  # Pillow forgets it on copies
    return image


def _turned(size: tuple[int, int], image: Image.Image) -> tuple[int, int]:
    """The size after `_upright`."""
    return size[::-1] if image.getexif().get(_ORIENTATION) in _ACROSS else size


def _shrunk(image: Image.Image, fit: int | None) -> Image.Image:
    """The image within fit x fit pixels."""
    if fit is not None and max(image.size) > fit:
        image.thumbnail((fit, fit), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return image
