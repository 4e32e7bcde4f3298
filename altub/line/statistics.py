"""What is watched of every inspected image beside its verdict: numbers that a defect hardly changes, but the line does.

A score says how odd the oddest part of an image is, so defects change it most. The others are of the image as a whole:
brightness, colour and sharpness of the picture, and the median of its anomaly map.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

__all__ = ["ImageStatistics", "measure", "measure_photo"]

SIDE = 256  # pixels; larger images are measured scaled down, so that time does not depend on the camera
DARKEST = 1.0  # of 255; below it a colour is noise


@dataclass(frozen=True)
class ImageStatistics:
    """Numbers of one image.

    Attributes:
        background: median of the anomaly map: how odd the ordinary half of the image is.
        brightness: mean grey value, 0 to 255.
        red_blue: red minus blue, as a share of the brightness.
        green: green minus the mean of red and blue, as a share of the brightness.
        sharpness: logarithm of the Laplacian's standard deviation over that of the grey values.
    """

    background: float
    brightness: float
    red_blue: float
    green: float
    sharpness: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def measure(image: Image.Image, anomaly_map: np.ndarray) -> ImageStatistics:
    """The numbers of an RGB image and its map (h, w) at the model's input size.

    Example:
        >>> grey = Image.new("RGB", (40, 30), (100, 100, 100))
        >>> found = measure(grey, np.zeros((8, 8)))
        >>> found.brightness, found.red_blue, found.green
        (100.0, 0.0, 0.0)
    """
    return ImageStatistics(background=float(np.median(anomaly_map)), **measure_photo(image))


def measure_photo(image: Image.Image) -> dict[str, float]:
    """The numbers that need no model: those of `ImageStatistics` but `background`."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    values = np.asarray(small, np.float64)
    red, green, blue = values.mean((0, 1))
    brightness = float(values.mean())
    unit = max(brightness, DARKEST)
    grey = values.mean(2)
    edges = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    sharpness = np.log((edges.std() if edges.size else 0.0) + 1e-3) - np.log(grey.std() + 1e-3)
    return {
        "brightness": brightness,
        "red_blue": float((red - blue) / unit),
        "green": float((green - (red + blue) / 2) / unit),
        "sharpness": float(sharpness),
    }
