"""A printed carton label: colour band with a logo, text, a table and a bar code, glued on kraft board.

The artwork is drawn once, as amounts of black and of spot colour on white paper. Each piece prints it with
its own ink densities, a small misregistration of the two plates, paper grain, and a slightly turned and
shifted place.
"""

from __future__ import annotations

from functools import lru_cache
from math import cos, pi, radians, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from altub.data.products.drawing import (
    CANVAS,
    Rendering,
    blob,
    grain,
    grid,
    lighting,
    mix,
    sample_map,
    smooth_noise,
    smoothstep,
    stroke,
)

__all__ = ["DEFECTS", "render"]

DEFECTS = ("ghost_print", "missing_print", "scratch", "smudge", "wrong_ink")

_KRAFT = np.array([0.650, 0.520, 0.385], dtype=np.float32)
_PAPER = np.array([0.945, 0.940, 0.920], dtype=np.float32)
_BLACK = np.array([0.105, 0.105, 0.115], dtype=np.float32)
_SPOT = np.array([0.025, 0.360, 0.420], dtype=np.float32)
_WRONG = np.array([0.800, 0.180, 0.130], dtype=np.float32)

_HALF_WIDTH, _HALF_HEIGHT, _CORNER = 108.0, 104.0, 8.0
# Where there is print to go wrong: centre and half size in pixels, in the label's coordinates.
_TEXT_LINES = ((-35.0, -20.0, 64.0, 7.5), (-35.0, 1.0, 64.0, 6.5), (-35.0, 18.0, 64.0, 6.5), (-35.0, 35.0, 64.0, 6.5))
_BAR_CODE = (-30.0, 72.0, 66.0, 21.0)
_SYMBOLS = (70.0, 4.0, 26.0, 34.0)
_BARS = "3112112213112311132112113121123113211211221312112313"


def render(look: np.random.Generator, fault: np.random.Generator, defect: str | None) -> Rendering:
    """Draw one label; ``look`` decides on the piece, ``fault`` on the place and shape of the defect."""
    x, y = grid()
    angle = radians(np.clip(look.normal(0, 0.6), -1.5, 1.5))
    shift = np.clip(look.normal(0, 1.0, 2), -2.5, 2.5).astype(np.float32)
    tilt_cos, tilt_sin = cos(angle), sin(angle)
    lx = tilt_cos * (x - shift[0]) + tilt_sin * (y - shift[1])
    ly = -tilt_sin * (x - shift[0]) + tilt_cos * (y - shift[1])
    register = np.clip(look.normal(0, 0.25, 2), -0.6, 0.6).astype(np.float32)
    density = np.clip(look.normal([0.95, 0.93], 0.015), 0.88, 1.0).astype(np.float32)
    light = lighting(look, 0.10)
    paper_grain, mottle = grain(look, 0.8, 0.8), smooth_noise(look, 40)
    board = 0.6 * grain(look, 5, 0.7) + 0.5 * grain(look, 0.8, 0.8) + 0.5 * smooth_noise(look, 10)

    black_plate, spot_plate = _artwork()
    wrong = np.zeros((CANVAS, CANVAS), dtype=np.float32)
    if defect in _FAULTY_PRINT:
        black_plate, spot_plate, wrong = _FAULTY_PRINT[defect](fault, black_plate, spot_plate)
    black = sample_map(black_plate, lx, ly) * (density[0] * (1 + 0.015 * mottle))
    spot = sample_map(spot_plate, lx + register[0], ly + register[1]) * (density[1] * (1 + 0.015 * mottle))

    paper = _PAPER * (1 + 0.008 * paper_grain)[..., None]
    label = mix(paper, _SPOT, spot)
    label = mix(label, _BLACK, black)
    if defect == "wrong_ink":
        label = mix(label, _WRONG, sample_map(wrong, lx, ly) * density[1])
    elif defect == "scratch":
        label = _scratch(label, fault, tilt_cos, tilt_sin, shift)

    edge = _outline(lx, ly)
    kraft = _KRAFT * (1 + 0.045 * board)[..., None]
    kraft = kraft * (1 - 0.45 * smoothstep(3.5, -1.5, _outline(lx - 1.5, ly - 1.5)))[..., None]
    colour = mix(kraft, label, smoothstep(0.3, -0.3, edge))
    return Rendering(np.clip(colour * light[..., None], 0, 1).astype(np.float32))


def _outline(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the label's rounded rectangle."""
    dx, dy = np.abs(x) - (_HALF_WIDTH - _CORNER), np.abs(y) - (_HALF_HEIGHT - _CORNER)
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - _CORNER


@lru_cache(maxsize=1)
def _artwork() -> tuple[np.ndarray, np.ndarray]:
    """Black and spot plate, (CANVAS, CANVAS) each, 1 where there is ink; drawn at twice the canvas size."""
    scale = 4
    black, spot = (Image.new("L", (2 * CANVAS, 2 * CANVAS)) for _ in range(2))
    on_black, on_spot = ImageDraw.Draw(black), ImageDraw.Draw(spot)

    def at(x: float, y: float) -> tuple[float, float]:
        return CANVAS + scale * x, CANVAS + scale * y

    def box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        return *at(x0, y0), *at(x1, y1)

    def write(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, size: float, **how) -> None:
        draw.text(at(x, y), text, font=ImageFont.load_default(scale * size), **how)

    # the band, with the logo (three leaves in a disc) and the name left white
    on_spot.rounded_rectangle(box(-101, -97, 101, -48), radius=scale * 5, fill=255)
    on_spot.ellipse(box(-95, -92, -56, -53), fill=0)
    for turn in range(3):
        angle = pi / 2 + turn * 2 * pi / 3
        cx, cy = -75.5 + 8.2 * cos(angle), -72.5 - 8.2 * sin(angle)
        on_spot.ellipse(box(cx - 7.6, cy - 7.6, cx + 7.6, cy + 7.6), fill=255)
    on_spot.ellipse(box(-79, -76, -72, -69), fill=0)
    write(on_spot, -47, -73, "NORDLIN", 27, fill=0, anchor="lm", stroke_width=scale * 0.5, stroke_fill=0)
    write(on_spot, -46, -55, "PRECISION FITTINGS", 8.5, fill=0, anchor="lm")

    write(on_black, -100, -34, "HEX COUPLER M12", 16, fill=255, anchor="lm", stroke_width=scale * 0.25)
    lines = ("Art. No.  407-118-25", "Stainless steel  1.4404", "Torque  max. 38 Nm", "Contents  24 pieces")
    for k, line in enumerate(lines):
        write(on_black, -100, -16 + 15 * k, line, 11.5, fill=255, anchor="lm")

    # a table of sizes with symbols on the right
    on_black.rounded_rectangle(box(44, -24, 100, 38), radius=scale * 3, outline=255, width=round(scale * 1.2))
    on_black.line([at(44, 7), at(100, 7)], fill=255, width=round(scale * 1.2))
    on_spot.rectangle(box(46, 9, 98, 36), fill=70)
    on_black.regular_polygon((*at(60, -8.5), scale * 10), 6, outline=255, width=round(scale * 2.2))
    on_black.ellipse(box(56, -12.5, 64, -4.5), outline=255, width=round(scale * 1.6))
    write(on_black, 85, -8, "12", 19, fill=255, anchor="mm", stroke_width=scale * 0.3)
    write(on_black, 72, 22.5, "CLASS A", 12, fill=255, anchor="mm", stroke_width=scale * 0.2)

    on_black.rectangle(box(-100, 46, 100, 47), fill=255)
    x = -97.0
    for k, width in enumerate(_BARS):
        if k % 2 == 0:
            on_black.rectangle(box(x, 53, x + 1.45 * int(width) - 0.05, 86), fill=255)
        x += 1.45 * int(width)
    write(on_black, (x - 97) / 2, 93, "4 070118 250024", 10, fill=255, anchor="mm")
    write(on_spot, 76, 62, "24", 30, fill=255, anchor="mm", stroke_width=scale * 0.6, stroke_fill=255)
    write(on_black, 76, 84, "PIECES", 10.5, fill=255, anchor="mm")

    from scipy import ndimage

    plates = (np.asarray(plate.reduce(2), dtype=np.float32) / 255 for plate in (black, spot))
    black_plate, spot_plate = (ndimage.gaussian_filter(plate, 0.6) for plate in plates)
    black_plate.flags.writeable = spot_plate.flags.writeable = False
    return black_plate, spot_plate


def _window(area: tuple[float, float, float, float], feather: float = 1.0) -> np.ndarray:
    """1 inside a rectangle (centre x, y, half width, half height) of the label, 0 outside."""
    x, y = grid()
    cx, cy, half_width, half_height = area
    return smoothstep(feather, -feather, np.maximum(np.abs(x - cx) - half_width, np.abs(y - cy) - half_height))


def _missing(fault: np.random.Generator, black: np.ndarray, spot: np.ndarray) -> tuple[np.ndarray, ...]:
    """Ink did not take in a patch over print: across the band, the bar code or the heading."""
    x, y = grid()
    cx, cy = ((-10, -72), (50, -66), (-40, 70), (20, 70), (-40, -34), (72, 20))[fault.integers(6)]
    edge = blob(fault, x - cx - fault.uniform(-8, 8), y - cy, fault.uniform(11, 19), 0.35)
    keep = smoothstep(-1.5, 1.5, edge + 1.2 * smooth_noise(fault, 90))
    return black * keep, spot * keep, np.zeros_like(black)


def _smudge(fault: np.random.Generator, black: np.ndarray, spot: np.ndarray) -> tuple[np.ndarray, ...]:
    """Wet ink dragged to one side by something that touched it."""
    from scipy import ndimage

    x, y = grid()
    cx, cy, half_width, _ = (_TEXT_LINES[0], _TEXT_LINES[1], _BAR_CODE, _SYMBOLS)[fault.integers(4)]
    cx += fault.uniform(-0.5, 0.5) * half_width
    length = int(fault.uniform(16, 30)) * 2
    dragged = ndimage.uniform_filter1d(black, length, axis=1, origin=int(fault.choice([-1, 1])) * (length // 3))
    touched = smoothstep(2, -5, blob(fault, (x - cx) * 0.6, y - cy, fault.uniform(13, 20), 0.3))
    streaks = 0.85 + 0.25 * np.clip(smooth_noise(fault, (120, 4)), -1.5, 1.5)
    return np.maximum(black * (1 - 0.5 * touched), 1.5 * dragged * touched * streaks), spot, np.zeros_like(black)


def _ghost(fault: np.random.Generator, black: np.ndarray, spot: np.ndarray) -> tuple[np.ndarray, ...]:
    """Part of the black plate printed a second time, fainter and beside itself."""
    area = (_TEXT_LINES[0], _TEXT_LINES[2], _BAR_CODE, _SYMBOLS)[fault.integers(4)]
    dx, dy = fault.choice([-1, 1]) * fault.uniform(3.5, 6), fault.choice([-1, 1]) * fault.uniform(3, 5)
    cx, cy, half_width, half_height = area
    window = _window((cx, cy, half_width + 2, half_height + 8), 3)
    second = np.roll(black, (round(2 * dy), round(2 * dx)), axis=(0, 1))
    return np.maximum(black, fault.uniform(0.4, 0.6) * second * window), spot, np.zeros_like(black)


def _wrong_ink(fault: np.random.Generator, black: np.ndarray, spot: np.ndarray) -> tuple[np.ndarray, ...]:
    """A line of text in a colour that belongs to another product."""
    cx, _, half_width, half_height = _TEXT_LINES[0]
    cy = -16 + 15 * int(fault.integers(4))
    window = _window((cx, cy, half_width + 3, half_height - 0.5), 0.4)
    return black * (1 - window), spot, black * window


def _scratch(
    label: np.ndarray, fault: np.random.Generator, tilt_cos: float, tilt_sin: float, shift: np.ndarray
) -> np.ndarray:
    """Ink scraped off to the bare, greyish fibre, with a raised edge that throws a thin shadow."""
    cx, cy = fault.uniform(-60, 60), fault.choice([-70, -30, 0, 30, 68])
    direction = radians(fault.uniform(-70, 70))
    t = np.linspace(-0.5, 0.5, 14)
    length, bend = fault.uniform(45, 85), fault.uniform(-7, 7)
    along, aside = length * t, bend * (4 * t * t - 1)
    sx = cx + along * cos(direction) - aside * sin(direction)
    sy = np.clip(cy + along * sin(direction) + aside * cos(direction), -98, 98)
    points = np.stack([tilt_cos * sx - tilt_sin * sy + shift[0], tilt_sin * sx + tilt_cos * sy + shift[1]], axis=1)
    width = fault.uniform(1.6, 2.5)
    label = label * (1 - 0.65 * stroke(points + 1.2, 1.4, 0.6))[..., None]
    return mix(label, (0.80, 0.785, 0.75), 0.95 * stroke(points, width, 0.5))


_FAULTY_PRINT = {
    "ghost_print": _ghost,
    "missing_print": _missing,
    "smudge": _smudge,
    "wrong_ink": _wrong_ink,
}
