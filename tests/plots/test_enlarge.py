"""Maps are enlarged as PyTorch does it, and a strip has exactly the values of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from altub.plots.enlarge import enlarged, enlarged_strips

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
