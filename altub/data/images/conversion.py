"""From a decoded image of any mode, or an array, to 8-bit grey ("L") or RGB, a strip at a time where it is large."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageCms

from altub.data.images.depth import PixelRange, is_deep, to_8_bit, white_of_file, white_of_range
from altub.errors import ImageError

__all__ = ["array_to_8_bit", "to_grey_or_rgb"]

STRIP_PIXELS = 4_000_000  # converted at a time


def to_grey_or_rgb(image: Image.Image, name: str, pixel_range: PixelRange | None) -> Image.Image:
    """The image as "L" where it has no colours and no transparency, else as "RGB".

    Raises:
        ImageError: it holds values that are not numbers, or has a mode that is no image.
    """
    if is_deep(image):
        white = white_of_file(image)
        if white is None:
            white = _white(image, name, pixel_range)
        return _by_strips(image, "L", lambda strip: Image.fromarray(to_8_bit(np.asarray(strip), white)))
    transparent = image.has_transparency_data or image.mode in ("LA", "PA", "RGBa", "La")
    if image.mode in ("L", "RGB") and not transparent:
        return image
    if image.mode == "1" and not transparent:
        return image.convert("L")
    convert = _lab_to_rgb if image.mode == "LAB" else _on_white if transparent else _plain
    try:
        return _by_strips(image, "RGB", convert)
    except (ValueError, ImageCms.PyCMSError) as error:
        raise ImageError(f"{name} has the colour mode {image.mode}, which cannot be shown as RGB.") from error


def array_to_8_bit(array: np.ndarray, name: str, pixel_range: PixelRange | None) -> np.ndarray:
    """An array (H, W[, C]) of bool, integers or floats as uint8.

    Raises:
        ImageError: it holds something else, or values that are not numbers.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype.kind not in "iuf":
        raise ImageError(f"{name} holds {array.dtype} values: use 8-bit or 16-bit integers or floats.")
    _check_numbers(array, name)
    white = white_of_range(array, pixel_range)
    result = np.empty(array.shape, np.uint8)
    rows = max(1, STRIP_PIXELS // max(1, array[0].size))
    for top in range(0, len(array), rows):
        result[top : top + rows] = to_8_bit(array[top : top + rows], white)
    return result


def _white(image: Image.Image, name: str, pixel_range: PixelRange | None) -> float:
    """What `white_of_range` gives for the whole image, without holding it as one array."""
    step = max(1, image.width * image.height // 1_000_000)
    largest, sampled = None, []
    for _, strip in _strips(image):
        values = np.asarray(strip)
        _check_numbers(values, name)
        largest = values.max() if largest is None else max(largest, values.max())
        sampled.append(values.reshape(-1)[::step])
    values = np.concatenate(sampled)
    return white_of_range(values if pixel_range is not None else np.asarray([largest], values.dtype), pixel_range)


def _check_numbers(values: np.ndarray, name: str) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ImageError(f"{name} holds values that are not numbers (NaN or infinity): export it again without them.")


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """First row and image of each strip from top to bottom; an image that is not large is one strip."""
    rows = max(1, STRIP_PIXELS // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _by_strips(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    result = None
    for top, strip in _strips(image):
        converted = convert(strip)
        if converted.size == image.size:
            return converted
        if result is None:
            result = Image.new(mode, image.size)
        result.paste(converted, (0, top))
    assert result is not None  # there is at least one strip
    return result


def _plain(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
