"""Smoothing in two passes is torchvision's in one."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms import functional

from altub.inference.smoothing import gaussian_blur


@pytest.mark.parametrize("size", [(64, 64), (9, 40), (7, 7)])
@pytest.mark.parametrize("sigma", [0.5, 1.7, 4.0])
def test_it_is_torchvisions(size: tuple[int, int], sigma: float) -> None:
    maps = torch.rand(3, 1, *size, generator=torch.Generator().manual_seed(0)) * 40 - 10
    reach = min(math.ceil(3 * sigma), min(size) - 1)
    wanted = functional.gaussian_blur(maps, [2 * reach + 1] * 2, [sigma] * 2)
    torch.testing.assert_close(gaussian_blur(maps, sigma), wanted, rtol=1e-5, atol=1e-4)


def test_a_constant_stays_and_a_peak_spreads() -> None:
    assert torch.allclose(gaussian_blur(torch.full((1, 1, 30, 30), 3.0), 4.0), torch.tensor(3.0))
    peak = torch.zeros(1, 1, 41, 41)
    peak[..., 20, 20] = 1
    found = gaussian_blur(peak, 2.0)
    assert found.sum().item() == pytest.approx(1, abs=1e-5) and found.argmax().item() == 20 * 41 + 20
