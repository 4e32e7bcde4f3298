"""What the procedural products are drawn with: smooth noise, coordinates, light, and masks by comparison.

Everything is drawn on a canvas of twice the final size, as float32 with colours in 0..1, and shrunk at the
end, which antialiases edges and textures.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
from PIL import Image

__all__ = [
    "CANVAS",
    "SIZE",
    "Rendering",
    "blob",
    "changed_pixels",
    "grain",
    "grid",
    "lighting",
    "mix",
    "photograph",
    "sample_map",
    "smooth_noise",
    "smoothstep",
    "stroke",
]

#: Side of a finished image and of the canvas it is drawn on, in pixels.
SIZE = 256
CANVAS = 2 * SIZE

# A defect's mask holds the pixels that it changes by more than this, in 8-bit levels of any colour channel:
# several times the sensor noise, and about what an eye finds side by side.
_NOTICEABLE = 9
# Gaps of up to this many pixels between changed ones belong to the defect, as in an outline drawn by hand: one around
# a print that is doubled, not one around each letter.
_CLOSED_GAP = 8
# Fewer connected pixels than this are no defect of their own: where a thread bends, single pixels far from the snag
# change sides, and AUPRO would weigh each of them like the whole defect.
_SMALLEST_REGION = 10
# Standard deviation of the camera's noise, in 8-bit levels.
_SENSOR_NOISE = 1.3


@dataclass(frozen=True)
class Rendering:
    """One drawn product: colours (CANVAS, CANVAS, 3) in 0..1."""

    colour: np.ndarray

    def at_size(self) -> np.ndarray:
        """Shrunk to (SIZE, SIZE, 3), in 0..255, by averaging 2 x 2 canvas pixels."""
        c = self.colour
        small = 0.25 * (c[0::2, 0::2] + c[1::2, 0::2] + c[0::2, 1::2] + c[1::2, 1::2])
        return np.clip(small, 0, 1) * np.float32(255)


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Canvas coordinates x, y in final pixels, zero in the middle; each (CANVAS, CANVAS) float32."""
    axis = (np.arange(CANVAS, dtype=np.float32) - (CANVAS - 1) / 2) / 2
    return np.broadcast_to(axis, (CANVAS, CANVAS)), np.broadcast_to(axis[:, None], (CANVAS, CANVAS))


def smooth_noise(rng: np.random.Generator, cells: int | tuple[int, int], size: int = CANVAS) -> np.ndarray:
    """A smooth random field of about unit deviation with ``cells`` (rows, columns) bumps a side."""
    rows, columns = (cells, cells) if isinstance(cells, int) else cells
    coarse = rng.standard_normal((rows + 3, columns + 3), dtype=np.float32)
    image = Image.fromarray(coarse)
    box = (1.0, 1.0, columns + 2.0, rows + 2.0)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def grain(rng: np.random.Generator, along_x: float = 0, along_y: float = 0) -> np.ndarray:
    """White noise blurred by these deviations (in canvas pixels), of unit deviation again."""
    noise = rng.standard_normal((CANVAS, CANVAS), dtype=np.float32)
    if along_x or along_y:
        from scipy import ndimage

        noise = ndimage.gaussian_filter(noise, (along_y, along_x), mode="wrap", truncate=2.5)
        noise /= noise.std()
    return noise


def sample_map(field: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Read a canvas-sized field at coordinates of `grid`, repeated beyond its borders (bilinear)."""
    from scipy import ndimage

    rows = 2 * y + (CANVAS - 1) / 2
    columns = 2 * x + (CANVAS - 1) / 2
    return ndimage.map_coordinates(field, (rows, columns), order=1, mode="grid-wrap")


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, a smooth rise between (or a fall, where low > high)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(below: np.ndarray, above: np.ndarray | tuple[float, float, float], alpha: np.ndarray) -> np.ndarray:
    """``above`` over ``below`` with opacity ``alpha`` (H, W)."""
    return below + (np.asarray(above, dtype=np.float32) - below) * alpha[..., None]


def blob(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, radius: float, roughness: float = 0.25) -> np.ndarray:
    """Signed distance, in pixels, to an irregular roundish outline around the origin; negative inside."""
    angle = np.arctan2(y, x)
    outline = np.ones_like(angle)
    for wave in range(2, 7):
        outline += roughness / wave * rng.normal() * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    stretch = rng.uniform(0.75, 1.3)
    return np.hypot(x * stretch, y / stretch) - radius * np.clip(outline, 0.4, 1.8)


def stroke(points: np.ndarray, width: float, feather: float = 0.5) -> np.ndarray:
    """Opacity (CANVAS, CANVAS) of a line through ``points`` (n, 2) of x, y in final pixels."""
    x, y = grid()
    distance = np.full((CANVAS, CANVAS), 1e6, dtype=np.float32)
    for (x0, y0), (x1, y1) in itertools.pairwise(points.tolist()):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
        np.minimum(distance, np.hypot(x - x0 - along * dx, y - y0 - along * dy), out=distance)
    return smoothstep(width / 2 + feather, width / 2 - feather, distance)


def lighting(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Brightness factor (CANVAS, CANVAS) of a soft lamp: a slope in a slightly random direction, and
    falloff."""
    x, y = grid()
    angle = radians(rng.normal(225, 12))
    slope = (cos(angle) * x + sin(angle) * y) / SIZE
    falloff = (x * x + y * y) / SIZE**2
    level = rng.normal(1, 0.015)
    return level + strength * (slope - 0.35 * falloff)


def photograph(rendering: Rendering, rng: np.random.Generator) -> Image.Image:
    """The finished 8-bit image: shrunk, with the camera's noise."""
    pixels = rendering.at_size()
    pixels = pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(_SENSOR_NOISE)
    return Image.fromarray(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8))


def changed_pixels(good: Rendering, defective: Rendering) -> np.ndarray:
    """The defect's mask, bool (SIZE, SIZE): where it changes the image of the same product noticeably, with the gaps
    between such places closed and lone specks left out."""
    from scipy import ndimage

    difference = np.abs(defective.at_size() - good.at_size()).max(axis=2)
    radius = _CLOSED_GAP // 2
    reach = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius
    room = 2 * radius  # so that the image's border closes nothing
    closed = ndimage.binary_closing(np.pad(difference > _NOTICEABLE, room), structure=reach)[room:-room, room:-room]
    regions, _ = ndimage.label(ndimage.binary_fill_holes(closed), np.ones((3, 3)))
    large = np.bincount(regions.ravel()) >= _SMALLEST_REGION
    large[0] = False  # the background
    return large[regions]
