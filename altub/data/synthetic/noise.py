"""Smooth random fields."""

from __future__ import annotations

import numpy as np

__all__ = ["gradient_noise"]


def gradient_noise(shape: tuple[int, int], rng: np.random.Generator, cell: float, octaves: int = 1) -> np.ndarray:
    """Perlin's gradient noise, float32 (H, W) of mean about 0 and standard deviation 1.

    K. Perlin, "Improving noise", SIGGRAPH 2002.

    Args:
        cell: pixels between two random gradients: the size of the largest structures.
        octaves: layers, each with half the cell and half the amplitude of the one before.
    """
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        total += _layer(shape, rng, max(cell / 2**octave, 2.0)) / 2**octave
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def _layer(shape: tuple[int, int], rng: np.random.Generator, cell: float) -> np.ndarray:
    offset = rng.random(2)  # the lattice's lines, where the noise is 0, lie elsewhere every time
    y, x = (np.arange(n, dtype=np.float32) / cell + shift for n, shift in zip(shape, offset.tolist(), strict=True))
    rows, columns = y.astype(int), x.astype(int)
    angles = rng.uniform(0, 2 * np.pi, (rows[-1] + 2, columns[-1] + 2)).astype(np.float32)
    dy, dx = (y - rows)[:, None], (x - columns)[None, :]

    def corner(down: int, right: int) -> np.ndarray:
        angle = angles[rows[:, None] + down, columns[None, :] + right]
        return np.sin(angle) * (dy - down) + np.cos(angle) * (dx - right)

    def fade(t: np.ndarray) -> np.ndarray:
        return t**3 * (t * (6 * t - 15) + 10)

    top = corner(0, 0) + fade(dx) * (corner(0, 1) - corner(0, 0))
    bottom = corner(1, 0) + fade(dx) * (corner(1, 1) - corner(1, 0))
    return top + fade(dy) * (bottom - top)
