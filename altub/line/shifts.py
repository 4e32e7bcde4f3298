"""Changes of the light, the camera or the file format, of known size: what adaptation and drift are measured with."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

__all__ = ["SHIFTS", "shifted"]

#: Name of a shift -> its sizes (mild, strong).
SHIFTS: dict[str, tuple[float, float]] = {
    "brightness": (1.1, 1.3),  # gain of all channels
    "contrast": (0.85, 0.6),  # around mid-grey
    "colour cast": (0.05, 0.15),  # more red and less blue, by this share
    "blur": (0.7, 1.5),  # radius of a Gaussian in pixels of an image of 256
    "noise": (4.0, 12.0),  # standard deviation of grey values
    "jpeg": (60.0, 20.0),  # quality
    "rotation": (1.0, 4.0),  # degrees, and twice as many pixels of an image of 256 to the right
}
USUAL_SIDE = 256  # that sizes in pixels are meant for


def shifted(image: Image.Image, kind: str, size: float, *, seed: int = 0) -> Image.Image:
    """An RGB image as it looks after a shift.

    Args:
        kind: a key of `SHIFTS`.
        size: in the unit that `SHIFTS` says.
        seed: of the noise.

    Example:
        >>> grey = Image.new("RGB", (4, 4), (100, 100, 100))
        >>> shifted(grey, "brightness", 1.3).getpixel((0, 0))
        (130, 130, 130)
    """
    return _KINDS[kind](image, size, seed)


def _array(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _brightness(image: Image.Image, size: float, seed: int) -> Image.Image:
    return _array(np.asarray(image, np.float32) * size)


def _contrast(image: Image.Image, size: float, seed: int) -> Image.Image:
    return _array((np.asarray(image, np.float32) - 127.5) * size + 127.5)


def _colour_cast(image: Image.Image, size: float, seed: int) -> Image.Image:
    return _array(np.asarray(image, np.float32) * np.array([1 + size, 1, 1 - size], np.float32))


def _blur(image: Image.Image, size: float, seed: int) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(size * max(image.size) / USUAL_SIDE))


def _noise(image: Image.Image, size: float, seed: int) -> Image.Image:
    values = np.asarray(image, np.float32)
    return _array(values + np.random.default_rng(seed).normal(0, size, values.shape))


def _jpeg(image: Image.Image, size: float, seed: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=round(size))
    with Image.open(buffer) as read:
        return read.convert("RGB")


def _rotation(image: Image.Image, size: float, seed: int) -> Image.Image:
    values = torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1)[None]
    angle = torch.deg2rad(torch.tensor(size))
    cos, sin, moved = float(angle.cos()), float(angle.sin()), 2 * (2 * size / USUAL_SIDE)
    grid = F.affine_grid(
        torch.tensor([[[cos, -sin, -moved], [sin, cos, 0.0]]]), list(values.shape), align_corners=False
    )
    turned = F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return _array(turned[0].permute(1, 2, 0).numpy())


_KINDS: dict[str, Callable[[Image.Image, float, int], Image.Image]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "colour cast": _colour_cast,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "rotation": _rotation,
}
