"""A machined plate: milled outline, four drilled holes and a turned boss with a bore, on a dark mat.

The plate is described by signed distances in its own coordinates. It lies a little turned and shifted from
piece to piece; brush marks run along it, turning marks run around the boss, edges are chamfered, and it
throws a soft shadow.
"""

from __future__ import annotations

from math import cos, radians, sin, sqrt

import numpy as np

from altub.data.products.drawing import (
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

DEFECTS = ("blind_hole", "chip", "dent", "rust", "scratch")

# Pixels, in the plate's coordinates.
_HALF_WIDTH, _HALF_HEIGHT, _CORNER = 98.0, 68.0, 20.0
_HOLES = ((-72.0, -43.0), (72.0, -43.0), (-72.0, 43.0), (72.0, 43.0))
_HOLE_RADIUS = 11.0
_BOSS_RADIUS, _BORE_RADIUS = 42.0, 19.0

_MAT = np.array([0.165, 0.185, 0.200], dtype=np.float32)
_STEEL = np.array([0.640, 0.655, 0.670], dtype=np.float32)


def render(look: np.random.Generator, fault: np.random.Generator, defect: str | None) -> Rendering:
    """Draw one part; ``look`` decides on the piece, ``fault`` on the place and shape of the defect."""
    x, y = grid()
    angle = radians(np.clip(look.normal(0, 1.6), -4, 4))
    shift = np.clip(look.normal(0, 1.6, 2), -4, 4).astype(np.float32)
    tilt_cos, tilt_sin = cos(angle), sin(angle)
    px = tilt_cos * (x - shift[0]) + tilt_sin * (y - shift[1])
    py = -tilt_sin * (x - shift[0]) + tilt_cos * (y - shift[1])
    light = lighting(look, 0.10)
    brushed = sample_map(_marks(look), px, py)
    tint = 1 + look.normal(0, 0.008, 3).astype(np.float32)
    mat_grain, waves = grain(look, 0.7, 0.7), smooth_noise(look, 6)
    turning = np.interp(np.arange(0, 60, 0.25), np.arange(0, 60, 0.6), look.standard_normal(100))
    sheen_angle, sheen_offset = radians(look.normal(35, 4)), look.normal(0, 5)

    blind = int(fault.integers(4)) if defect == "blind_hole" else None
    bite = None
    if defect == "chip":
        along = fault.uniform(0.15, 0.85)
        side, sign = fault.integers(2), float(fault.choice([-1, 1]))
        where = (sign * _HALF_WIDTH, (2 * along - 1) * 45) if side else ((2 * along - 1) * 75, sign * _HALF_HEIGHT)
        bite = blob(fault, px - where[0], py - where[1], fault.uniform(6, 12), 0.45)
        bite = bite + 0.5 * grain(fault, 1.5, 1.5)

    outline = _rounded_box(px, py)
    if bite is not None:
        outline = np.maximum(outline, -bite)
    holes = np.full_like(outline, 1e3)
    for k, (hx, hy) in enumerate(_HOLES):
        if k != blind:
            np.minimum(holes, np.hypot(px - hx, py - hy) - _HOLE_RADIUS, out=holes)
    radius = np.hypot(px, py)
    bore = radius - _BORE_RADIUS
    solid = np.maximum(outline, -np.minimum(holes, bore))

    # the mat, and the shadow to the lower right
    mat = _MAT * (1 + 0.05 * mat_grain + 0.03 * waves)[..., None]
    colour = mat * (1 - 0.62 * _shadow(solid))[..., None]

    # the face: brushed along, turned around the boss
    sheen = np.exp(-(((px * cos(sheen_angle) + py * sin(sheen_angle) - sheen_offset) / 58) ** 2))
    face = 0.86 + 0.045 * brushed + 0.20 * sheen
    theta = np.arctan2(py, px)
    ring = np.interp(radius, np.arange(0, 60, 0.25), turning).astype(np.float32)
    turned = (
        0.86 + 0.045 * ring + 0.26 * np.square(np.square(np.square(np.cos(theta - sheen_angle)))) * (1 + 0.15 * ring)
    )
    on_boss = smoothstep(_BOSS_RADIUS + 0.4, _BOSS_RADIUS - 0.4, radius)
    face = face * (1 - on_boss) + turned * on_boss

    # relief: outer chamfer, chamfers of holes and bore, the step of the boss; light from the upper left
    height = 2.6 * smoothstep(0, -3.2, outline)
    height = height * (1 - 0.8 * smoothstep(2.4, 0, np.minimum(holes, bore)))
    height = height + 2.0 * smoothstep(_BOSS_RADIUS + 1.6, _BOSS_RADIUS - 1.6, radius)
    if defect == "dent":
        dx, dy = _on_face(fault, 0.8)
        size = fault.uniform(5.5, 9)
        dent = np.hypot((px - dx) * fault.uniform(0.8, 1.25), py - dy) / size
        height = height - 1.5 * size * np.exp(-(dent**2))
        face = face * (1 - 0.06 * np.exp(-(dent**2)))
    down, right = np.gradient(height, 0.5)
    face = face * np.clip(1 + 0.34 * (right + down), 0.45, 1.5)
    metal = _STEEL * tint * (face * light)[..., None]

    if blind is not None:
        # only a shallow counterbore where the drill should have gone through
        hx, hy = _HOLES[blind]
        pit = np.hypot(px - hx, py - hy)
        floor = _STEEL * (0.66 + 0.22 * np.cos(1.9 * pit) - 0.45 * smoothstep(3.2, 1.8, pit))[..., None]
        lip = smoothstep(2.2, 0, np.abs(pit - _HOLE_RADIUS)) * _slant(px - hx, py - hy)
        metal = mix(metal, floor, smoothstep(0.5, -0.5, pit - _HOLE_RADIUS))
        metal = metal * (1 + 0.6 * lip)[..., None]
    elif defect == "rust":
        metal = _rust(metal, fault, px, py)
    elif defect == "scratch":
        metal = _scratch(metal, fault, tilt_cos, tilt_sin, shift)
    if bite is not None:
        # the broken face is rough and darker than the cut one
        rough = 0.52 + 0.12 * grain(fault, 0.8, 0.8)
        metal = mix(metal, _STEEL * rough[..., None], smoothstep(3.0, 1.6, bite))

    colour = mix(colour, metal, smoothstep(0.35, -0.35, solid))
    # inside the openings: the wall, lit on the lower right, above the mat in shadow
    opening = np.minimum(holes, bore)
    wall = smoothstep(-5.5, -0.5, opening) * (0.5 + 0.5 * _facing(px, py, bore < holes))
    depth = 0.55 - 0.25 * smoothstep(0, -8, opening)
    inner = mat * depth[..., None] + 0.17 * wall[..., None] * _STEEL
    colour = mix(colour, inner, smoothstep(0.35, -0.35, opening) * smoothstep(0.35, -0.35, outline))
    return Rendering(np.clip(colour, 0, 1).astype(np.float32))


def _rounded_box(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    dx = np.abs(x) - (_HALF_WIDTH - _CORNER)
    dy = np.abs(y) - (_HALF_HEIGHT - _CORNER)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return outside + np.minimum(np.maximum(dx, dy), 0) - _CORNER


def _marks(look: np.random.Generator) -> np.ndarray:
    """Brush marks along x: fine ones and a few broad ones."""
    return 0.8 * smooth_noise(look, (380, 12)) + 0.4 * smooth_noise(look, (90, 3))


def _shadow(solid: np.ndarray) -> np.ndarray:
    """Darkness on the mat: soft, away from the light."""
    offset = 10  # canvas pixels
    moved = np.roll(solid, (offset, offset), axis=(0, 1))
    moved[:offset], moved[:, :offset] = 50, 50
    return smoothstep(7, -6, moved)


def _facing(x: np.ndarray, y: np.ndarray, in_bore: np.ndarray) -> np.ndarray:
    """How much the wall of the nearest opening faces the light: 1 at its lower right, -1 at its upper
    left."""
    hx = np.where(in_bore, 0, np.sign(x) * _HOLES[3][0])
    hy = np.where(in_bore, 0, np.sign(y) * _HOLES[3][1])
    return _slant(x - hx, y - hy)


def _slant(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cosine between (x, y) and the direction away from the light."""
    return (x + y) / (sqrt(2) * np.hypot(x, y) + 1e-3)


def _on_face(fault: np.random.Generator, inset: float) -> tuple[float, float]:
    """A place on the plate clear of its holes, bore and edge."""
    while True:
        x, y = fault.uniform(-1, 1) * _HALF_WIDTH * inset, fault.uniform(-1, 1) * _HALF_HEIGHT * inset
        clear = all(np.hypot(x - hx, y - hy) > _HOLE_RADIUS + 10 for hx, hy in _HOLES)
        if clear and abs(np.hypot(x, y) - _BORE_RADIUS) > 9 and np.hypot(x, y) > _BORE_RADIUS:
            return x, y


def _rust(metal: np.ndarray, fault: np.random.Generator, px: np.ndarray, py: np.ndarray) -> np.ndarray:
    x, y = _on_face(fault, 0.85)
    edge = blob(fault, px - x, py - y, fault.uniform(7, 14), 0.4)
    mottle = 0.6 * smooth_noise(fault, 60) + 0.4 * grain(fault, 0.8, 0.8)
    cover = np.clip(smoothstep(3.5, -3.5, edge + 2.2 * mottle), 0, 1) * 0.9
    brown = np.array([0.46, 0.245, 0.11], dtype=np.float32) * (1 + 0.22 * mottle)[..., None]
    return mix(metal, brown, cover)


def _aside(points: np.ndarray) -> np.ndarray:
    """Unit vector across a line, to the side away from the light."""
    dx, dy = points[-1] - points[0]
    across = np.array([-dy, dx]) / np.hypot(dx, dy)
    return across if across.sum() > 0 else -across


def _scratch(
    metal: np.ndarray, fault: np.random.Generator, tilt_cos: float, tilt_sin: float, shift: np.ndarray
) -> np.ndarray:
    """A groove across the brush marks: bright burr on one side, dark on the other."""
    x, y = _on_face(fault, 0.7)
    direction = radians(fault.uniform(30, 150))
    t = np.linspace(-0.5, 0.5, 14)
    length, bend = fault.uniform(45, 80), fault.uniform(-6, 6)
    along, aside = length * t, bend * (4 * t * t - 1)
    sx = x + along * cos(direction) - aside * sin(direction)
    sy = y + along * sin(direction) + aside * cos(direction)
    points = np.stack([tilt_cos * sx - tilt_sin * sy + shift[0], tilt_sin * sx + tilt_cos * sy + shift[1]], axis=1)
    width = fault.uniform(1.5, 2.3)
    dark, bright = stroke(points + 0.8 * width * _aside(points), width, 0.6), stroke(points, 0.8 * width, 0.6)
    return mix(metal * (1 - 0.75 * dark)[..., None], (0.97, 0.98, 1.0), 0.85 * bright)
