"""Masks and maps as files: a mask is a PNG of 0 and 255 at its image's own size, a map is float16 and compressed."""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import Image

from altub.data.images import read_mask
from altub.errors import ImageError, LabelError

__all__ = ["MaskSource", "decode_map", "encode_map", "encode_mask", "mask_array"]

#: What a mask may be given as: bool (H, W), or an encoded image in which every value but 0 means defect.
MaskSource = np.ndarray | bytes

_LARGEST_MAP = 64 << 20  # bytes, unpacked


def mask_array(mask: MaskSource, size: tuple[int, int]) -> np.ndarray:
    """The mask as bool (H, W).

    Args:
        mask: see `MaskSource`; of an array every value but 0 means defect.
        size: (width, height) of the image, which the mask must have.

    Raises:
        LabelError: it is no mask, or of another size.
    """
    if isinstance(mask, np.ndarray):
        array = mask != 0
    else:
        try:
            array = read_mask(bytes(mask))
        except ImageError as error:
            raise LabelError(f"The mask cannot be read: {error}") from error
    if array.shape != size[::-1]:
        shape = " x ".join(map(str, array.shape[::-1]))
        raise LabelError(f"The mask has {shape} pixels and the image {size[0]} x {size[1]}: they must be the same.")
    return array


def encode_mask(mask: np.ndarray) -> bytes:
    """A bool mask (H, W) as PNG of 0 and 255; the same mask gives the same bytes.

    Example:
        >>> mask = np.eye(3, dtype=bool)
        >>> bool((mask_array(encode_mask(mask), (3, 3)) == mask).all())
        True
    """
    file = io.BytesIO()
    Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(file, "PNG")
    return file.getvalue()


def encode_map(anomaly_map: np.ndarray) -> bytes:
    """An anomaly map (h, w) as compressed float16, about a quarter of its size."""
    file = io.BytesIO()
    np.save(file, np.asarray(anomaly_map, np.float16), allow_pickle=False)
    return zlib.compress(file.getvalue())


def decode_map(content: bytes) -> np.ndarray:
    """The map (h, w), float32.

    Raises:
        LabelError: it is damaged.
    """
    try:
        unpacked = zlib.decompressobj().decompress(content, _LARGEST_MAP)
        return np.load(io.BytesIO(unpacked), allow_pickle=False).astype(np.float32)
    except (zlib.error, ValueError, EOFError) as error:
        raise LabelError("A stored anomaly map is damaged: score the images again.") from error
