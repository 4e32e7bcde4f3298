"""An aligned norm gives shifted features what it gave the features of the training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from altub.flows.alignment import FeatureSums, align_norm, alignments_of
from altub.flows.config import FlowConfig
from altub.flows.norm_kinds import create_norm
from altub.flows.norms import FeatureNorm

SHAPE = (6, 5, 4)  # (C, H, W)
CASES = [("position", "channel"), ("position", "full"), ("position", "position"), ("whiten", "channel")]
CASES += [("whiten", "full"), ("channel", "channel")]


def draw(count: int, seed: int) -> Tensor:
    """Features with a mean per position and correlated channels of different strength."""
    generator = torch.Generator().manual_seed(seed)
    layout = torch.Generator().manual_seed(0)
    place = 2 * torch.randn(SHAPE, generator=layout)
    mix = torch.diag(torch.linspace(0.5, 3, SHAPE[0])) + 0.3 * torch.randn(SHAPE[0], SHAPE[0], generator=layout)
    noise = torch.randn(count, *SHAPE, generator=generator)
    return place + torch.einsum("cd,ndhw->nchw", mix, noise)


def fitted(kind: str) -> FeatureNorm:
    norm = create_norm(kind, SHAPE, FlowConfig(position_rank=3))
    fit = norm.start_fit()
    while True:
        fit.observe(draw(200, 1))
        if fit.end_pass():
            return norm


def sums_of(features: Tensor) -> FeatureSums:
    """Added up in two parts, as a program does it."""
    first, second = FeatureSums(SHAPE), FeatureSums(SHAPE)
    first.add(features[:3])
    second.add(features[3:])
    return first + second


def error(norm: FeatureNorm, features: Tensor, wanted: Tensor) -> float:
    """Root mean square of what is wrong, in units of the wanted values'."""
    return float((norm(features) - wanted).square().mean().sqrt() / wanted.std())


@pytest.mark.parametrize("kind, alignment", CASES)
def test_a_gain_and_an_offset_of_every_channel_are_undone(kind: str, alignment: str) -> None:
    norm = fitted(kind)
    gain, offset = torch.linspace(0.6, 1.7, SHAPE[0]).view(-1, 1, 1), torch.linspace(-3, 4, SHAPE[0]).view(-1, 1, 1)
    new = draw(50, 2)
    wanted = norm(new)
    before = error(norm, new * gain + offset, wanted)
    align_norm(norm, sums_of(draw(200, 3) * gain + offset), alignment)
    assert before > 0.7
    assert error(norm, new * gain + offset, wanted) < 0.15


@pytest.mark.parametrize("kind", ["position", "whiten"])
def test_only_the_full_alignment_undoes_mixed_channels(kind: str) -> None:
    mix = 0.07 * torch.randn(SHAPE[0], SHAPE[0], generator=torch.Generator().manual_seed(5))
    symmetric = torch.eye(SHAPE[0]) + mix + mix.T  # as the transport map is: it turns nothing

    def mixed(features: Tensor) -> Tensor:
        return torch.einsum("cd,ndhw->nchw", symmetric, features)

    errors = {}
    for alignment in ("channel", "full"):
        norm = fitted(kind)
        new = draw(50, 2)
        wanted = norm(new)
        align_norm(norm, sums_of(mixed(draw(200, 3))), alignment)
        errors[alignment] = error(norm, mixed(new), wanted)
    assert errors["full"] < 0.1 < 0.5 * errors["channel"]


def test_a_change_at_one_place_moves_the_means_there() -> None:
    change = torch.zeros(SHAPE)
    change[:, 2:, 2:] = 8.0
    errors = {}
    for alignment in ("channel", "position"):
        norm = fitted("position")
        new = draw(50, 2)
        wanted = norm(new)
        align_norm(norm, sums_of(draw(16, 3) + change), alignment)
        errors[alignment] = error(norm, new + change, wanted)
    assert errors["position"] < 0.5 * errors["channel"]


def test_means_hardly_move_where_nothing_changed() -> None:
    norm = fitted("position")
    new = draw(50, 2)
    wanted = norm(new)
    align_norm(norm, sums_of(draw(16, 3)), "position")
    assert error(norm, new, wanted) < 0.2


def test_the_sums_of_parts_are_those_of_the_whole() -> None:
    features = draw(12, 4)
    whole = FeatureSums(SHAPE)
    whole.add(features)
    parts = sums_of(features)
    assert parts.images == whole.images == 12
    for name in ("mean", "covariance", "residual_covariance"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-4)
    rows = features.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(whole.covariance, torch.cov(rows, correction=0), rtol=1e-4, atol=1e-4)


def test_norms_without_moments_have_no_alignment() -> None:
    for kind in ("layer", "layer-affine", "none"):
        norm = create_norm(kind, SHAPE)
        assert alignments_of(norm) == ()
        with pytest.raises(ValueError, match="no alignment"):
            align_norm(norm, FeatureSums(SHAPE), "channel")
