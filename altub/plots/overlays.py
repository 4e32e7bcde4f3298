"""Heatmaps and what is drawn over photos: pure functions from arrays to images.

Heatmaps take their colour range from the model's calibration, never from the image itself, so that a colour means the
same on every image. Of matplotlib, imported inside the functions, only the colour maps and the font are used.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from altub.errors import ConfigError
from altub.plots.enlarge import enlarged, enlarged_strips
from altub.plots.limits import Outlined, draw_limits

__all__ = ["COLOUR_MAPS", "colourise", "heat_layer", "overlay", "placeholder"]

COLOUR_MAPS = ("inferno", "viridis", "magma", "cividis")  # perceptually uniform; the first is the default

# The photo shows through where the map is near its normal value. Between these shares of the colour range the
# heat fades in: normal texture lies below the first, the default threshold (0.5) within the full opacity.
_FADE_START, _FADE_END = 0.15, 0.55
_MAX_CONTOURS = 300
_CONTOUR_PIXELS = 4_000_000  # of the map in which lines are searched


def colourise(anomaly_map: np.ndarray, low: float, high: float, colour_map: str = "inferno") -> np.ndarray:
    """Heatmap uint8 (H, W, 3) of an anomaly map (H, W); values outside ``low`` to ``high`` take the end colours.

    Raises:
        ConfigError: the colour map is none of ``COLOUR_MAPS``.
    """
    return _lookup(colour_map)[_levels(anomaly_map, low, high)]


def heat_layer(anomaly_map: np.ndarray, low: float, high: float, *, colour_map: str = "inferno") -> Image.Image:
    """What `overlay` lays over a photo, RGBA at the map's own size: transparent where the map is near its normal value.

    For a program that draws it over the photo itself and chooses the opacity.

    Raises:
        ConfigError: the colour map is unknown.
    """
    levels = _levels(anomaly_map, low, high)
    alpha = Image.fromarray(_fade(1.0)[levels])
    layer = Image.fromarray(_lookup(colour_map)[levels])
    layer.putalpha(alpha)
    return layer


def overlay(
    image: Image.Image | np.ndarray,
    anomaly_map: np.ndarray,
    low: float,
    high: float,
    *,
    opacity: float = 0.5,
    colour_map: str = "inferno",
    threshold: float | None = None,
    contour: bool = True,
    regions: Sequence[Outlined] = (),
) -> Image.Image:
    """The photo with the heatmap over it, and a line around what lies above the threshold.

    Args:
        image: photo, PIL or uint8 (H, W, 3) or (H, W).
        anomaly_map: (h, w); scaled to the photo's size if it has another one.
        low, high: the fixed colour range of the model.
        opacity: 0 leaves the photo as it is, 1 hides it where the map is high.
        threshold: map value of the contour; None draws none.
        contour: False draws none.
        regions: where the model looks and where not; their limits are drawn as dashed lines.

    Raises:
        ConfigError: the opacity is outside [0, 1] or the colour map is unknown.
    """
    if not 0 <= opacity <= 1:
        raise ConfigError(f"The opacity is {opacity:g}: it must lie between 0 and 1.")
    result = (image if isinstance(image, Image.Image) else Image.fromarray(image)).convert("RGB")  # a copy
    values = _not_larger(anomaly_map, result.size)
    palette = _lookup(colour_map).tobytes()
    alpha = _fade(opacity)
    for top, strip in enlarged_strips(values, result.size):
        levels = _levels(strip, low, high)
        heat = Image.fromarray(levels).convert("P")
        heat.putpalette(palette)
        # Pillow blends by an 8-bit mask in C: several times faster than the same in floating point arrays.
        result.paste(heat.convert("RGB"), (0, top), Image.fromarray(alpha[levels]))
    if contour and threshold is not None:
        _draw_contours(result, values, threshold)
    draw_limits(result, regions)
    return result


def placeholder(text: str, size: tuple[int, int]) -> Image.Image:
    """An empty state: a short text in the middle of a grey panel, RGBA, readable on light and dark backgrounds."""
    width, height = size
    panel = Image.new("RGBA", (2 * width, 2 * height))
    draw = ImageDraw.Draw(panel)
    draw.rounded_rectangle(
        (2, 2, 2 * width - 3, 2 * height - 3), radius=28, fill=(128, 128, 128, 22), outline=(128, 128, 128, 90), width=2
    )
    points = int(np.clip(min(width / 22, height / 9), 10, 18))
    lines = textwrap.fill(text, max(8, int(width * 0.86 / (0.56 * points))))
    panel = panel.resize(size, Image.Resampling.LANCZOS)
    ImageDraw.Draw(panel).multiline_text(
        (width / 2, height / 2),
        lines,
        font=_font(points),
        fill=(128, 128, 128, 255),
        anchor="mm",
        align="center",
        spacing=6,
    )
    return panel


def _fade(opacity: float) -> np.ndarray:
    """How much each of the 256 levels hides the photo, uint8 (256,)."""
    share = np.clip((np.arange(256) / 255 - _FADE_START) / (_FADE_END - _FADE_START), 0, 1)
    return np.round(255 * opacity * share**2 * (3 - 2 * share)).astype(np.uint8)


def _levels(anomaly_map: np.ndarray, low: float, high: float) -> np.ndarray:
    if not low < high:
        raise ValueError(f"the colour range {low} to {high} is empty")
    share = (np.asarray(anomaly_map, dtype=np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(share + np.float32(0.5), 0, 255).astype(np.uint8)


@lru_cache(maxsize=len(COLOUR_MAPS))
def _lookup(name: str) -> np.ndarray:
    """The 256 colours of a map, uint8 (256, 3)."""
    if name not in COLOUR_MAPS:
        raise ConfigError(f"There is no colour map {name!r}. Choose one of {', '.join(COLOUR_MAPS)}.")
    from matplotlib import colormaps

    return colormaps[name](np.arange(256), bytes=True)[:, :3].copy()


def _not_larger(anomaly_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Float32 map, scaled down (bilinear, antialiased) where it is larger than a size (width, height)."""
    values = np.asarray(anomaly_map, dtype=np.float32)
    if values.ndim != 2:
        raise ValueError(f"an anomaly map is an array (H, W), got one of shape {values.shape}")
    fitting = min(size[0], values.shape[1]), min(size[1], values.shape[0])
    if fitting == values.shape[::-1]:
        return values
    return np.asarray(Image.fromarray(values).resize(fitting, Image.Resampling.BILINEAR))


def _draw_contours(image: Image.Image, values: np.ndarray, threshold: float) -> None:
    """White line with a dark halo along the level set, in place; drawn larger and scaled down."""
    width, height = image.size
    share = min(1.0, (_CONTOUR_PIXELS / (width * height)) ** 0.5)
    values = enlarged(values, (max(1, round(width * share)), max(1, round(height * share))))
    if not (values > threshold).any() or min(values.shape) < 2:
        return
    from contourpy import contour_generator

    # A noisy map has thousands of level sets: the longest show where, the others only cover the photo.
    lines = sorted(contour_generator(z=values).lines(threshold), key=len, reverse=True)[:_MAX_CONTOURS]
    # About 2 px on an image of 1000 px: a page shows larger ones scaled down.
    stroke = max(1.2, 2.0 * min(width, height) / 1000)
    scale = 3 if width * height < 500_000 else 2 if width * height < 6_000_000 else 1
    stretch = np.array([width * scale / values.shape[1], height * scale / values.shape[0]])
    for grow, colour in ((2.4, (0, 0, 0, 150)), (1.0, (255, 255, 255, 255))):
        mask = Image.new("L", (width * scale, height * scale))
        draw = ImageDraw.Draw(mask)
        for line in lines:
            points = ((line + 0.5) * stretch).ravel().tolist()
            draw.line(points, fill=colour[3], width=max(1, round(stroke * grow * scale)), joint="curve")
        image.paste(colour[:3], mask=mask.reduce(scale) if scale > 1 else mask)


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path  # its font has the Greek letters that Pillow's own lacks

    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
