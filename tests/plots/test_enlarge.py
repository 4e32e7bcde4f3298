"""Maps are enlarged as PyTorch does it, and a strip has exactly the values of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from altub.plots.enlarge import blocks_above, enlarged, enlarged_strips

SIZES = [(1, 1), (7, 5), (64, 48), (640, 333), (2000, 3)]


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(48, 64)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_like_pytorch(values: np.ndarray, size: tuple[int, int]) -> None:
    found, told = (
        enlarged(values, size),
        F.interpolate(torch.from_numpy(values)[None, None], size[::-1], mode="bilinear"),
    )
    assert found.shape == size[::-1] and found.dtype == np.float32
    assert np.allclose(found, told[0, 0].numpy(), atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixels", [1, 1000, 100_000])
def test_strips_are_the_whole(values: np.ndarray, size: tuple[int, int], pixels: int) -> None:
    strips = list(enlarged_strips(values, size, pixels))
    assert np.array_equal(np.concatenate([strip for _, strip in strips]), enlarged(values, size))
    assert [top for top, _ in strips] == list(np.cumsum([0, *(len(strip) for _, strip in strips)])[:-1])


def test_a_map_of_that_size_is_unchanged(values: np.ndarray) -> None:
    assert np.array_equal(enlarged(values, (64, 48)), values)
    assert np.array_equal(np.concatenate([strip for _, strip in enlarged_strips(values, (64, 48))]), values)


@pytest.mark.parametrize("size", [(97, 61), (8, 6), (3, 5), (1, 1)])
@pytest.mark.parametrize("shift", [0.0, -1e6, 1e4])
def test_blocks_hold_every_pixel_above_a_level(size: tuple[int, int], shift: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.normal(0, 1, (6, 8)).astype(np.float32) ** 3
        values[rng.integers(6), rng.integers(8)] += shift
        whole = enlarged(values, size)
        for level in (float(values.max()), float(np.quantile(values, 0.9)), float(values.min()), -np.inf, np.inf):
            marked = np.zeros(whole.shape, bool)
            for top, left, block in blocks_above(values, size, level):
                here = slice(top, top + block.shape[0]), slice(left, left + block.shape[1])
                assert np.array_equal(block, whole[here])
                marked[here] = block > level
            assert np.array_equal(marked, whole > level)


def test_where_nothing_is_above_there_is_no_block() -> None:
    values = np.zeros((6, 8), np.float32)
    assert list(blocks_above(values, (900, 600), 0.5)) == []
    values[2, 3] = 1
    area = sum(block.size for _, _, block in blocks_above(values, (900, 600), 0.5))
    assert 0 < area < 900 * 600 / 6, "its surroundings alone"
