"""The learnable base: a diagonal Gaussian, its start and its best place."""

from __future__ import annotations

import math

import pytest
import torch

from altub.flows import couple
from altub.flows.base import DiagonalGaussian


def test_base_starts_as_standard_normal_and_agrees_with_torch() -> None:
    base, z = DiagonalGaussian(3), torch.randn(2, 3, 4, 5)
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(z)
    torch.testing.assert_close(base.log_prob(z), standard.sum((1, 2, 3)))
    torch.testing.assert_close(base.log_prob_map(z), standard.mean(1))
    base.set_moments(torch.tensor([1.0, -2.0, 0.0]), torch.tensor([2.0, 0.5, 0.0]))
    assert base.mean.tolist() == [1.0, -2.0, 0.0]
    assert base.log_std[:2].tolist() == pytest.approx([math.log(2), math.log(0.5)])
    assert torch.isfinite(base.log_prob(z)).all(), "a channel without variation must not break the density"


@pytest.mark.parametrize("values", [1, 20, 60, 1 << 19])  # of z in a block: parts of an image, one, several, all
def test_the_likelihood_in_blocks_is_that_of_torch(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couple, "CACHED_ELEMENTS", values)
    torch.manual_seed(0)
    base, z = DiagonalGaussian(3).double(), torch.randn(4, 3, 2, 5, dtype=torch.double, requires_grad=True)
    torch.nn.init.normal_(base.mean)
    torch.nn.init.normal_(base.log_std)
    given = (z, base.mean, base.log_std)

    def ours(*_given: torch.Tensor) -> torch.Tensor:  # whose numbers are changed in place
        return base.log_prob(z)

    normal = torch.distributions.Normal(*(one.view(1, -1, 1, 1) for one in (base.mean, base.log_std.exp())))
    expected = normal.log_prob(z).sum((1, 2, 3))
    torch.testing.assert_close(ours(), expected)
    weights = torch.linspace(-1, 2, 4, dtype=torch.double)
    for wanted in (given, given[:1], given[1:]):  # of all, of a frozen base, of the base alone
        found, right = (
            torch.autograd.grad((weights * one).sum(), wanted, retain_graph=True) for one in (ours(), expected)
        )
        torch.testing.assert_close(found, right)
    assert torch.autograd.gradcheck(ours, given)


def test_moments_are_the_best_base_for_a_frozen_flow() -> None:
    torch.manual_seed(0)
    z = torch.randn(50, 2, 3, 3) * torch.tensor([2.0, 0.3]).view(1, 2, 1, 1) + 0.7
    base = DiagonalGaussian(2)
    base.set_moments(z.mean((0, 2, 3)), z.transpose(0, 1).flatten(1).std(1, correction=0))
    (-base.log_prob(z).mean()).backward()
    assert base.mean.grad.abs().max() < 1e-3 and base.log_std.grad.abs().max() < 1e-3
