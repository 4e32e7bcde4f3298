"""A woven cloth: a 2/2 twill of dark warp and lighter weft threads, lit from the upper left.

Each thread is a rounded ridge that rises and sinks as it passes over and under the crossing ones; whichever
is higher is seen. Phase, angle, waviness, thread thickness, dye and light differ a little from piece to
piece.
"""

from __future__ import annotations

from math import cos, pi, radians, sin

import numpy as np

from altub.data.products.drawing import (
    Rendering,
    blob,
    grain,
    grid,
    lighting,
    mix,
    smooth_noise,
    smoothstep,
    stroke,
)

__all__ = ["DEFECTS", "render"]

DEFECTS = ("colour_drift", "hole", "missing_thread", "pulled_thread", "stain")

_PITCH = 8.0  # pixels from thread to thread
_THREADS = 64  # more than fit across a tilted image
_WARP = np.array([0.185, 0.300, 0.440], dtype=np.float32)
_WEFT = np.array([0.600, 0.640, 0.660], dtype=np.float32)


def render(look: np.random.Generator, fault: np.random.Generator, defect: str | None) -> Rendering:
    """Draw one piece of cloth; ``look`` decides on the piece, ``fault`` on the place and shape of the
    defect."""
    x, y = grid()
    angle = radians(look.normal(0, 0.8))
    u = cos(angle) * x + sin(angle) * y + 0.8 * smooth_noise(look, 5)
    v = -sin(angle) * x + cos(angle) * y + 0.8 * smooth_noise(look, 5)
    u = u + look.uniform(0, 4 * _PITCH)
    v = v + look.uniform(0, 4 * _PITCH)
    warp_tone = look.normal(1, 0.035, _THREADS).astype(np.float32)
    weft_tone = look.normal(1, 0.030, _THREADS).astype(np.float32)
    hue = 1 + look.normal(0, 0.012, 3).astype(np.float32)
    light = lighting(look, 0.16)
    warp_fibre, weft_fibre = grain(look, 0.6, 3.0), grain(look, 3.0, 0.6)

    cx, cy = (float(c) for c in fault.uniform(-80, 80, 2))
    if defect == "pulled_thread":
        # the thread is tight: its neighbours bend towards the snag
        reach = np.exp(-(((x - cx) / 22) ** 2) - ((y - cy) / 8) ** 2)
        v = v + float(fault.choice([-1, 1])) * 5.5 * reach

    i, j = np.floor(u / _PITCH), np.floor(v / _PITCH)
    warp_ridge = _ridge(u / _PITCH - i)
    weft_ridge = _ridge(v / _PITCH - j)
    over = 0.55 * np.cos(pi / 2 * (v / _PITCH + i))
    under = 0.55 * np.cos(pi / 2 * (u / _PITCH + j))
    warp_height, weft_height = warp_ridge + over, weft_ridge - under

    if defect == "missing_thread":
        column = np.floor((cx + 2 * _PITCH) / _PITCH)
        length = fault.uniform(35, 80)
        gone = (i == column) * smoothstep(length, length - 4, np.abs(y - cy))
        warp_height = warp_height - 1.6 * gone
        weft_height = weft_height - 0.15 * gone

    on_top = warp_height > weft_height
    height = np.maximum(warp_height, weft_height)
    warp_index, weft_index = (k.astype(int) % _THREADS for k in (i, j))
    warp_colour = _WARP * hue * (warp_tone[warp_index] * (1 + 0.07 * warp_fibre))[..., None]
    weft_colour = _WEFT * hue * (weft_tone[weft_index] * (1 + 0.05 * weft_fibre))[..., None]

    if defect == "colour_drift":
        # a batch of warp yarn from another dye: a band of threads
        width = fault.uniform(14, 30)
        ends = smoothstep(fault.uniform(50, 90), 35, np.abs(y - cy))
        band = smoothstep(width + 2, width - 2, np.abs(x - cx)) * ends
        dye = np.array([1.45, 0.98, 0.80] if fault.random() < 0.5 else [0.75, 1.22, 0.88], dtype=np.float32)
        warp_colour = warp_colour * (1 + band[..., None] * (dye - 1))
        weft_colour = weft_colour * (1 + 0.35 * band[..., None] * (dye - 1))

    colour = np.where(on_top[..., None], warp_colour, weft_colour)
    colour = colour * (_relief(height) * light)[..., None]

    if defect == "hole":
        colour = _hole(colour, fault, x - cx, y - cy)
    elif defect == "stain":
        edge = blob(fault, x - cx, y - cy, fault.uniform(14, 28))
        soak = smoothstep(3, -5, edge) * (0.75 + 0.25 * smoothstep(-9, -1, edge))
        tint = np.array([0.66, 0.52, 0.36], dtype=np.float32)
        colour = colour * (1 + (fault.uniform(0.75, 1.0) * soak)[..., None] * (tint - 1))
    elif defect == "pulled_thread":
        colour = _loop(colour, fault, cx, cy)
    return Rendering(colour.astype(np.float32))


def _ridge(across: np.ndarray) -> np.ndarray:
    """Height of a round thread over its width, 0..1."""
    return np.sqrt(np.maximum(0, 1 - (2 * across - 1) ** 2))


def _relief(height: np.ndarray) -> np.ndarray:
    """Brightness of a surface of this height: light from the upper left, little of it in the gaps."""
    down, right = np.gradient(height)
    slope = np.clip(2.2 * (right + down), -0.55, 0.55)
    gaps = smoothstep(-0.5, 1.0, height)
    return (0.45 + 0.55 * gaps) * (1 + 0.5 * slope)


def _hole(colour: np.ndarray, fault: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    edge = blob(fault, x, y, fault.uniform(7, 15), 0.4)
    fray = 2.0 * grain(fault, 1, 1)
    colour = colour * (1 + 0.35 * np.exp(-((edge / 2.5) ** 2)))[..., None]  # lifted ends catch the light
    inside = smoothstep(0.8, -0.8, edge + fray)
    shade = 0.035 + 0.03 * smoothstep(-10, 0, edge)
    return mix(colour, np.repeat(shade[..., None], 3, axis=2), inside)


def _loop(colour: np.ndarray, fault: np.random.Generator, cx: float, cy: float) -> np.ndarray:
    """The slack of the pulled thread stands out as a loop and throws a shadow."""
    t = np.linspace(0, 1, 22)
    length, height = fault.uniform(24, 44), fault.uniform(9, 16) * fault.choice([-1, 1])
    points = np.stack([cx + length * (t - 0.5) + 3 * np.sin(5 * t), cy + height * np.sin(np.pi * t)], axis=1)
    shadow = stroke(points + 2.4, 3.6, 1.8)
    colour = colour * (1 - 0.5 * shadow)[..., None]
    return mix(colour, (0.74, 0.77, 0.78), 0.95 * stroke(points, 2.8))
