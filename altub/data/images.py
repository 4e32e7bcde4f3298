"""Images and masks from files, uploads and arrays, decoded the same way everywhere.

Every image ends as upright 8-bit RGB. The rules for what is not 8-bit RGB already:

* Orientation: the EXIF rotation is applied. Of an animation or a multi-page file the first frame is taken.
* Transparency (RGBA, LA, palettes with a transparent colour): composited on white.
* More than 8 bits of grey (16-bit PNG and TIFF, Pillow's ``I``): the depth is the smallest of 8, 12 and 16
  bits that holds the largest value, and full depth becomes 255. So 12-bit camera frames in 16-bit files keep
  their contrast, and images of one camera get the same scale unless one is almost black. Beyond 16 bits the
  largest value becomes 255.
* Floating point: values up to 1 are taken as 0..1, larger ones follow the rule for integers. Negative values
  are 0.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from altub import settings
from altub.errors import ImageError

if TYPE_CHECKING:
    import torch

__all__ = ["IMAGE_SUFFIXES", "ImageSource", "is_image_file", "read_image", "read_mask", "resize_mask", "to_tensor"]

#: What an image may be given as: a path, encoded bytes, a Pillow image or an array (H, W[, C]).
ImageSource = str | Path | bytes | Image.Image | np.ndarray

#: Files with another ending are not looked at when a folder is listed. Decoding goes by content, not by
#: ending.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".avif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".ico"}
)

# Formats that Pillow hands to an external interpreter: nothing that a stranger uploads may start one.
_REFUSED_FORMATS = frozenset({"EPS", "WMF"})

# A lossy mask is grey around its edges; in a lossless one every value but 0 means defect.
_LOSSY_MASK_THRESHOLD = 127


def is_image_file(path: str | Path) -> bool:
    """True where the file name ends like an image's, in whatever case; the file is not opened."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def read_image(
    source: str | Path | bytes | BinaryIO | Image.Image | np.ndarray, *, max_pixels: int | None = None
) -> Image.Image:
    """Decode one image to upright 8-bit RGB, by the rules at the top of this file.

    Args:
        source: a path, the bytes of a file, an open binary file, a Pillow image, or an array (H, W), (H, W,
            1), (H, W, 3) or (H, W, 4) of bool, integers or floats.
        max_pixels: refuse images with more pixels; `settings.max_pixels` where it is None. Checked before
            decoding.

    Raises:
        ImageError: not an image, damaged or cut off, empty, or too large. The message names the file.
    """
    limit = settings.max_pixels() if max_pixels is None else max_pixels
    if isinstance(source, np.ndarray):
        return _from_array(source, limit)
    return _to_rgb(*_open(source, limit))


def to_tensor(image: Image.Image, size: int) -> torch.Tensor:
    """An image as (3, size, size) float32 in [0, 1], squashed to a square.

    Pillow's bilinear filter, which antialiases when it shrinks. An image that has this size already is not
    resampled: its values are exactly ``pixel / 255``.
    """
    import torch

    if image.mode != "RGB":
        image = read_image(image)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div_(255)


def read_mask(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """A mask of defective pixels as bool (H, W); every value but 0 means defect (in a JPEG: every value above
    127).

    ``size`` = (H, W) resizes with nearest neighbour. Transparent pixels count as 0.
    """
    image, name = _open(path, settings.max_pixels())
    lossy = image.format in ("JPEG", "MPO")
    if image.mode == "1" or image.mode in ("L", "I", "F") or image.mode.startswith("I;16"):
        grey = np.asarray(image)
    else:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
        grey = np.asarray(image)[..., :3].max(axis=2)
    if grey.ndim != 2:
        raise ImageError(f"{name} cannot be used as a mask: it has {grey.ndim} dimensions instead of 2.")
    mask = grey > (_LOSSY_MASK_THRESHOLD if lossy else 0)
    return np.array(mask if size is None else resize_mask(mask, size), dtype=bool)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A bool mask (H, W) at another size (H, W), by nearest neighbour."""
    if mask.shape == tuple(size):
        return mask
    height, width = size
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST), dtype=bool)


def _open(source: str | Path | bytes | BinaryIO | Image.Image, limit: int) -> tuple[Image.Image, str]:
    """The decoded, upright first frame in the file's own mode, and the name to use in messages."""
    if isinstance(source, Image.Image):
        name = Path(getattr(source, "filename", "") or "The image").name
        _check_size(source.size, limit, name)
        return _decode(source, limit, name), name
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, file = "The uploaded file", io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)):
        name, file = Path(source).name, Path(source)
    else:
        given = getattr(source, "name", None)
        name, file = (Path(given).name if isinstance(given, str) and given else "The uploaded file"), source

    # Pillow warns above its own limit and refuses above twice that; AltUB's limit holds where it is the larger one.
    if Image.MAX_IMAGE_PIXELS is not None and limit > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limit
    try:
        image = Image.open(file)
    except FileNotFoundError as error:
        raise ImageError(f"{source} does not exist: check the path.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{source} is a folder, not an image file.") from error
    except PermissionError as error:
        raise ImageError(f"{name} cannot be opened: permission denied. Check the file's permissions.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_large(name, "far too many", limit)) from error
    except UnidentifiedImageError as error:
        raise ImageError(_why_unidentified(file, name)) from error
    except Exception as error:  # a damaged header makes Pillow's readers raise almost anything
        raise ImageError(f"{name} is damaged and cannot be read as an image: save or export it again.") from error
    with image:
        if image.format in _REFUSED_FORMATS:
            raise ImageError(f"{name} is a {image.format} drawing, not an image: export it as PNG.")
        _check_size(image.size, limit, name)
        return _decode(image, limit, name), name


def _decode(image: Image.Image, limit: int, name: str) -> Image.Image:
    try:
        if getattr(image, "n_frames", 1) > 1:
            image.seek(0)
        image.load()
        _check_size(image.size, limit, name)  # the true size of an icon is known only now
        upright = ImageOps.exif_transpose(image)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_large(name, "far too many", limit)) from error
    except MemoryError as error:
        raise ImageError(f"{name} does not fit in memory: use a smaller image.") from error
    except Exception as error:  # damaged pixel data makes Pillow's decoders raise almost anything
        raise ImageError(f"{name} is damaged or cut off: copy or export it again.") from error
    upright.format = image.format
    return upright


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bit(np.asarray(image), name)).convert("RGB")
    try:
        if image.mode == "LAB":
            profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        if image.has_transparency_data or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")
    except (ValueError, ImageCms.PyCMSError) as error:
        raise ImageError(f"{name} has the colour mode {image.mode}, which cannot be shown as RGB.") from error


def _from_array(array: np.ndarray, limit: int) -> Image.Image:
    name = "The image array"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or array.size == 0:
        raise ImageError(f"{name} has shape {array.shape}: it must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).")
    _check_size((array.shape[1], array.shape[0]), limit, name)
    if array.dtype != np.uint8:
        array = _to_8_bit(array, name)
    image = Image.fromarray(np.ascontiguousarray(array))
    return _to_rgb(image, name)


def _to_8_bit(values: np.ndarray, name: str) -> np.ndarray:
    """Scale by the depth that the largest value asks for; the rule is at the top of this file."""
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype.kind not in "iuf":
        raise ImageError(f"{name} holds {values.dtype} values: use 8-bit or 16-bit integers or floats.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ImageError(f"{name} holds values that are not numbers (NaN or infinity): export it again without them.")
    largest = float(values.max())
    if values.dtype.kind == "f" and largest <= 1:
        white = 1.0
    else:
        white = next((float(full) for full in (255, 4095, 65535) if largest <= full), largest)
    scaled = np.clip(values.astype(np.float64) * (255 / white), 0, 255)
    return np.rint(scaled).astype(np.uint8)


def _check_size(size: tuple[int, int], limit: int, name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels.")
    if width * height > limit:
        raise ImageError(_too_large(name, f"{width} x {height}", limit))


def _too_large(name: str, pixels: str, limit: int) -> str:
    return (
        f"{name} has {pixels} pixels, more than the {limit:,} allowed: make it smaller, or raise "
        "ALTUB_MAX_PIXELS if this machine has the memory for it."
    )


def _why_unidentified(file: Path | BinaryIO, name: str) -> str:
    try:
        empty = file.stat().st_size == 0 if isinstance(file, Path) else file.seek(0, os.SEEK_END) == 0
    except (OSError, ValueError):  # gone meanwhile, or a stream that cannot seek
        empty = False
    if empty:
        return f"{name} is empty (0 bytes): copy or upload it again."
    return f"{name} is not an image that can be read: use PNG, JPEG, TIFF, BMP or WebP."
