"""Reading images: checked, decoded within bounds, and given back as upright 8-bit RGB.

`read_image` is for one image that is used and forgotten. Whoever holds images for longer (to compute maps, to draw)
uses `opened` or `opened_in_chunks`, which keep their room in the process's budget for as long as the block lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Generic, TypeVar

import numpy as np
from PIL import Image

from altub.data.images.budget import BUDGET
from altub.data.images.depth import PixelRange
from altub.data.images.formats import LARGE_PIXELS
from altub.data.images.pending import Pending, Rules, pending
from altub.data.images.sources import ImageSource
from altub.errors import ImageError

__all__ = [
    "ImageChunk",
    "image_chunks",
    "image_dimensions",
    "opened",
    "opened_in_chunks",
    "read_deep",
    "read_image",
    "read_thumbnail",
]

CHUNK_IMAGES, CHUNK_PIXELS = 8, LARGE_PIXELS
T = TypeVar("T")


def read_image(
    source: ImageSource | BinaryIO, *, max_pixels: int | None = None, pixel_range: PixelRange | None = None
) -> Image.Image:
    """Decode one image to upright 8-bit RGB, by the rules of `altub.data.images`.

    Args:
        source: a path, the bytes of a file, an open binary file, a Pillow image, or an array (H, W), (H, W,
            1), (H, W, 3) or (H, W, 4) of bool, integers or floats.
        max_pixels: refuse images with more pixels; `settings.max_pixels` where it is None. Checked before
            decoding.
        pixel_range: which value is white in images of more than 8 bits; None: the image's own largest decides.

    Raises:
        ImageError: not an image, damaged or cut off, empty, or too large. The message names the file.
    """
    rules = Rules.of(max_pixels=max_pixels, pixel_range=pixel_range)
    with pending(source, rules) as undecoded, BUDGET.hold(undecoded.pixels):
        image = _rgb(undecoded)
        return image.copy() if image is source else image


@contextmanager
def opened(
    source: ImageSource | BinaryIO, *, max_pixels: int | None = None, pixel_range: PixelRange | None = None
) -> Iterator[Image.Image]:
    """`read_image` for as long as the block lasts; it is closed at its end, and other large images wait meanwhile.
    Upright RGB of Pillow is neither copied nor closed.

    Raises:
        ImageError: as from `read_image`, or too many others wait.
    """
    rules = Rules.of(max_pixels=max_pixels, pixel_range=pixel_range)
    with pending(source, rules) as undecoded, BUDGET.hold(undecoded.pixels):
        image = _rgb(undecoded)
        try:
            yield image
        finally:
            if image is not source:
                image.close()  # frees its memory now, whoever still holds it


@dataclass(frozen=True)
class ImageChunk(Generic[T]):
    """A few images that are opened but not decoded yet; any thread may decode them, once.

    Attributes:
        entries: each item with its undecoded image, or with what is wrong with it.
        pixels: of all of them.
        files: closes the files.
    """

    entries: list[tuple[T, Pending | ImageError]]
    pixels: int
    files: ExitStack

    def own_sizes(self) -> list[tuple[int, int] | None]:
        """(width, height) of each image's own, upright, whatever it was decoded at; None for what cannot be read. To be
        asked while the images are open."""
        return [_own_size(undecoded) for _, undecoded in self.entries]

    @contextmanager
    def decoded(self) -> Iterator[list[tuple[T, Image.Image | ImageError]]]:
        """Each item with its image, or with what is wrong with it, for as long as the block lasts."""
        with self.files, ExitStack() as room:
            try:
                room.enter_context(BUDGET.hold(self.pixels))
                decoded = [(item, _rgb_or_error(undecoded)) for item, undecoded in self.entries]
            except ImageError as error:  # there was no room
                decoded = [(item, error) for item, _ in self.entries]
            try:
                yield decoded
            finally:
                for (_, image), (_, undecoded) in zip(decoded, self.entries, strict=True):
                    if (
                        isinstance(undecoded, Pending)
                        and isinstance(image, Image.Image)
                        and not undecoded.is_source(image)
                    ):
                        image.close()  # frees its memory now, whoever still holds it


def image_chunks(
    items: Iterable[T],
    source_of: Callable[[T], ImageSource],
    *,
    pixel_range: PixelRange | None = None,
    enough: int | None = None,
) -> Iterator[ImageChunk[T]]:
    """The items in order, up to `CHUNK_IMAGES` at a time, and a large image alone; none is decoded yet.

    The same items give the same chunks. Whoever leaves early closes the `files` of the last one.

    Args:
        enough: as of `Rules`; None: every image at its own size.
    """
    chunk: list[tuple[T, Pending | ImageError]] = []
    pixels, files = 0, ExitStack()
    for item in items:
        file = ExitStack()
        try:
            undecoded: Pending | ImageError = file.enter_context(
                pending(source_of(item), Rules.of(pixel_range=pixel_range, enough=enough))
            )
        except ImageError as error:
            undecoded = error
        more = undecoded.pixels if isinstance(undecoded, Pending) else 0
        if chunk and (pixels + more > CHUNK_PIXELS or len(chunk) == CHUNK_IMAGES):
            yield ImageChunk(chunk, pixels, files)
            chunk, pixels, files = [], 0, ExitStack()
        chunk.append((item, undecoded))
        pixels += more
        files.push(file)
    if chunk:
        yield ImageChunk(chunk, pixels, files)


def opened_in_chunks(
    items: Iterable[T], source_of: Callable[[T], ImageSource], *, pixel_range: PixelRange | None = None
) -> Iterator[list[tuple[T, Image.Image | ImageError]]]:
    """Each item with its image, or with what is wrong with it; a few at a time, and a large image alone.

    The images are open until the next chunk is asked for.
    """
    for chunk in image_chunks(items, source_of, pixel_range=pixel_range):
        with chunk.decoded() as decoded:
            yield decoded


def read_thumbnail(source: ImageSource | BinaryIO, side: int) -> Image.Image:
    """An image scaled down to within side x side pixels; one that is smaller stays as it is.

    A JPEG is decoded at about that size, which is several times faster.

    Raises:
        ImageError: as from `read_image`.
    """
    with pending(source, Rules.of(fit=side)) as undecoded, BUDGET.hold(undecoded.pixels):
        return _rgb(undecoded)


def image_dimensions(source: ImageSource | BinaryIO) -> tuple[int, int]:
    """(width, height) of the upright image, from its file's header.

    Raises:
        ImageError: as from `read_image`, as far as can be seen before decoding.
    """
    with pending(source, Rules.of()) as undecoded:
        return undecoded.upright_size


def read_deep(source: ImageSource | BinaryIO) -> np.ndarray | None:
    """The values of an image of more than 8 bits whose file does not say which one is white; None for all others.

    Raises:
        ImageError: as from `read_image`.
    """
    with pending(source, Rules.of()) as undecoded, BUDGET.hold(undecoded.pixels):
        return undecoded.deep_values()


def _own_size(undecoded: Pending | ImageError) -> tuple[int, int] | None:
    try:
        return None if isinstance(undecoded, ImageError) else undecoded.upright_size
    except ImageError:  # damaged EXIF data, for which decoding gave an error too
        return None


def _rgb(undecoded: Pending) -> Image.Image:
    image = undecoded.read()
    return image if image.mode == "RGB" else image.convert("RGB")


def _rgb_or_error(undecoded: Pending | ImageError) -> Image.Image | ImageError:
    if isinstance(undecoded, ImageError):
        return undecoded
    try:
        return _rgb(undecoded)
    except ImageError as error:
        return error
