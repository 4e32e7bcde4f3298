"""Whitening by position, against PaDiM's Gaussian at every position, computed one position after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import altub.flows.position_norm as position_norm
from altub.flows import FlowConfig
from altub.flows.position_norm import PositionWhitening
from tests.flows.test_norms import fit

SHAPE = (4, 5, 3)


def made(features: Tensor, **settings: object) -> PositionWhitening:
    return fit(PositionWhitening(SHAPE, FlowConfig(**settings)), features)


def features_by_position(count: int = 50) -> Tensor:
    """Another mean, spread and correlation at every position."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(5, 3, 4, 4, generator=generator) * torch.rand(5, 3, 1, 1, generator=generator)
    mean = 5 * torch.randn(4, 5, 3, generator=generator)
    return torch.einsum("hwcd,ndhw->nchw", mixing, torch.randn(count, 4, 5, 3, generator=generator)) + mean


def expected(features: Tensor, x: Tensor, weight: float) -> Tensor:
    """z by the definition, with all directions kept: a loop over positions and their neighbours."""
    features, x = features.double(), x.double()
    mean = features.mean(0)
    residuals = (features - mean).transpose(0, 1).flatten(1)
    covariance = residuals @ residuals.T / residuals.shape[1]
    std = covariance.diagonal().sqrt()
    values, vectors = torch.linalg.eigh(covariance / (std[:, None] * std))
    whitening = (vectors * values.rsqrt()) @ vectors.T / std
    white = torch.einsum("cd,ndhw->nchw", whitening, features - mean)
    own = torch.einsum("nchw,ndhw->hwcd", white, white) / (len(features) - 1)
    weight *= len(features) / (len(features) + 30)
    z, (_, height, width) = torch.empty_like(x), SHAPE
    for i in range(height):
        for j in range(width):
            total, weights = 0.0, 0.0
            for k in range(max(i - 1, 0), min(i + 2, height)):
                for m in range(max(j - 1, 0), min(j + 2, width)):
                    share = (0.787 if k == i else 0.1065) * (0.787 if m == j else 0.1065)
                    total, weights = total + share * own[k, m], weights + share
            mixed = (1 - weight) * torch.eye(4, dtype=torch.float64) + weight * total / weights
            values, vectors = torch.linalg.eigh(mixed)
            a = (x[:, :, i, j] - mean[:, i, j]) @ whitening.T
            z[:, :, i, j] = a @ ((vectors * values.rsqrt()) @ vectors.T)
    return z.float()


@pytest.mark.parametrize("weight", [0.0, 0.5, 0.9])
def test_with_all_directions_it_is_the_definition(weight: float) -> None:
    features = features_by_position()
    norm, x = made(features, position_weight=weight), torch.randn(3, *SHAPE)
    torch.testing.assert_close(norm(x), expected(features, x, weight), rtol=2e-2, atol=2e-2)


def test_the_more_directions_are_kept_the_nearer_it_comes_to_all_of_them() -> None:
    features, x = features_by_position(200), torch.randn(4, *SHAPE)
    norms = [made(features, position_rank=rank) for rank in (1, 2, 3, 9)]
    assert [norm.vectors.shape[-1] for norm in norms] == [1, 2, 3, 4]
    whole = norms[-1](x)
    errors = [(norm(x) - whole).abs().mean().item() for norm in norms]
    assert errors[0] > 1.3 * errors[1] > 1.3 * 1.3 * errors[2] > 0 == errors[3]


def test_passes_of_a_few_rows_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features = features_by_position()
    whole = made(features)
    monkeypatch.setattr(position_norm, "FIT_BYTES", 1)  # a row a pass
    for name, value in made(features).state_dict().items():
        torch.testing.assert_close(value.float().abs(), whole.state_dict()[name].float().abs(), rtol=1e-3, atol=1e-3)


def test_what_is_usual_elsewhere_is_unusual_here() -> None:
    features = features_by_position()
    moved = features.roll(1, dims=3)
    norm = made(features)
    assert norm(moved).square().mean() > 5 * norm(features).square().mean()


def test_few_images_and_constant_channels_give_finite_values() -> None:
    features = features_by_position(2)
    features[:, 0] = 7.0
    assert torch.isfinite(made(features)(features_by_position(3))).all()
    assert torch.isfinite(made(features[:1])(features_by_position(3))).all()


def test_where_float32_does_not_converge_float64_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CPUs with AVX-512: which matrices LAPACK gives up on depends on the machine."""
    features, decompose = features_by_position(), torch.linalg.eigh
    usual = made(features)

    def gives_up(matrices: Tensor) -> tuple[Tensor, Tensor]:
        if matrices.dtype == torch.float32:
            raise torch.linalg.LinAlgError("linalg.eigh: The algorithm failed to converge")
        return decompose(matrices)

    monkeypatch.setattr(torch.linalg, "eigh", gives_up)
    norm, x = made(features), torch.randn(3, *SHAPE)
    torch.testing.assert_close(norm(x), usual(x), rtol=2e-2, atol=2e-2)  # directions are kept in float16


def test_at_another_size_a_place_keeps_its_own_statistics() -> None:
    """A map twice as large, each value four times, gives each value's z four times; only the mean is interpolated."""
    features = features_by_position()
    norm = made(features)
    norm.mean.zero_()
    x = torch.randn(2, *SHAPE)
    larger = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(norm(larger), norm(x).repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(norm(x), norm(x.clone()))  # and its own size again


def test_constants_loaded_into_a_used_norm_are_used() -> None:
    features = features_by_position()
    norm, x = made(features), torch.randn(2, *SHAPE)
    other = made(2 * features + 1)
    before = other(x)
    other.load_state_dict(norm.state_dict())
    assert torch.equal(other(x), norm(x)) and not torch.equal(before, norm(x))
