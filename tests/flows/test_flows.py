"""FastFlow heads, norms, bases and the pyramid of them."""

from __future__ import annotations

import math

import pytest
import torch

from altub.flows import FastFlowHead, FeatureNorm, FlowPyramid
from altub.flows.base import DiagonalGaussian
from altub.training.config import PRESETS, FlowConfig, make_config

RESNET18 = [(64, 64, 64), (128, 32, 32), (256, 16, 16)]
WIDE = [(256, 64, 64), (512, 32, 32), (1024, 16, 16)]


def count(parameters) -> int:
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.parametrize(
    ("flow", "shapes", "heads", "norms"),
    [
        ({"kernels": "3x3", "norm": "layer-affine"}, RESNET18, 4_657_408, 917_504),
        ({"kernels": "3x3/1x1", "norm": "layer"}, RESNET18, 2_593_024, 0),
        ({"kernels": "3x3/1x1", "norm": "layer-affine"}, WIDE, 41_337_856, 3_670_016),
    ],
)
def test_parameter_counts_are_the_published_ones(flow, shapes, heads: int, norms: int) -> None:
    pyramid = FlowPyramid(FlowConfig(**flow), shapes)
    assert count(pyramid.heads.parameters()) == heads
    assert count(pyramid.norms.parameters()) == norms
    assert count(pyramid.bases.parameters()) == 2 * sum(shape[0] for shape in shapes)


@pytest.mark.parametrize(
    ("preset", "shapes", "heads"),
    [
        ("fastflow-resnet18", RESNET18, 4_657_408),
        ("fastflow-wrn50", WIDE, 41_337_856),
        ("fastflow-deit", [(768, 24, 24)], 7_074_500),
        ("fastflow-cait", [(768, 28, 28)], 7_074_500),
    ],
)
def test_presets_are_the_published_configurations(preset: str, shapes, heads: int) -> None:
    assert count(FlowPyramid(make_config(preset, category="x").flow, shapes).heads.parameters()) == heads


def test_every_preset_is_valid() -> None:
    for name in PRESETS:
        make_config(name, category="x")


@pytest.mark.parametrize("kernels", ["3x3", "3x3/1x1"])
def test_head_inverts_and_knows_its_determinant(kernels: str) -> None:
    torch.manual_seed(0)
    head = FastFlowHead(5, steps=3, hidden_ratio=1.0, kernels=kernels).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(1, 5, 3, 4, dtype=torch.double)
    z, log_det = head(x)
    back, inverse_log_det = head.inverse(z)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(inverse_log_det, -log_det)
    jacobian = torch.autograd.functional.jacobian(lambda value: head(value)[0].flatten(), x)
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian.reshape(60, 60))[1])


def test_kernels_alternate() -> None:
    head = FastFlowHead(4, steps=4, kernels="3x3/1x1")
    assert [block.subnet[0].kernel_size[0] for block in head.flow] == [3, 1, 3, 1]


@pytest.mark.parametrize("norm", ["layer", "layer-affine", "channel", "none"])
def test_any_input_size_runs_and_every_parameter_gets_a_gradient(norm: str) -> None:
    torch.manual_seed(0)
    pyramid = FlowPyramid(FlowConfig(steps=2, norm=norm), [(4, 8, 8), (6, 4, 4)])
    for height, width in [(8, 8), (12, 10)]:
        features = [torch.randn(2, 4, height, width), torch.randn(2, 6, height // 2, width // 2)]
        loss = sum(nll.mean() for nll in pyramid.nll(pyramid.normalise(features)))
        assert torch.isfinite(loss)
    loss.backward()
    for name, parameter in pyramid.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_nll_is_the_density_of_a_change_of_variables() -> None:
    """-log N(f(x); mu, Sigma) - log|det df/dx| with an independent Gaussian and an autograd Jacobian."""
    torch.manual_seed(0)
    pyramid = FlowPyramid(FlowConfig(steps=2, norm="none"), [(3, 2, 2)]).double()
    base = pyramid.bases[0]
    torch.nn.init.normal_(base.mean)
    torch.nn.init.normal_(base.log_std, std=0.3)
    x = torch.randn(1, 3, 2, 2, dtype=torch.double)
    z, _ = pyramid.heads[0](x)
    gaussian = torch.distributions.Normal(base.mean.view(1, 3, 1, 1), base.log_std.exp().view(1, 3, 1, 1))
    jacobian = torch.autograd.functional.jacobian(lambda value: pyramid.heads[0](value)[0].flatten(), x)
    expected = -gaussian.log_prob(z).sum() - torch.linalg.slogdet(jacobian.reshape(12, 12))[1]
    torch.testing.assert_close(pyramid.nll([x])[0][0], expected)


def test_base_starts_as_standard_normal_and_agrees_with_torch() -> None:
    base, z = DiagonalGaussian(3), torch.randn(2, 3, 4, 5)
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(z)
    torch.testing.assert_close(base.log_prob(z), standard.sum((1, 2, 3)))
    torch.testing.assert_close(base.log_prob_map(z), standard.mean(1))
    base.set_moments(torch.tensor([1.0, -2.0, 0.0]), torch.tensor([2.0, 0.5, 0.0]))
    assert base.mean.tolist() == [1.0, -2.0, 0.0]
    assert base.log_std[:2].tolist() == pytest.approx([math.log(2), math.log(0.5)])
    assert torch.isfinite(base.log_prob(z)).all(), "a channel without variation must not break the density"


def test_moments_are_the_best_base_for_a_frozen_flow() -> None:
    torch.manual_seed(0)
    z = torch.randn(50, 2, 3, 3) * torch.tensor([2.0, 0.3]).view(1, 2, 1, 1) + 0.7
    base = DiagonalGaussian(2)
    base.set_moments(z.mean((0, 2, 3)), z.transpose(0, 1).flatten(1).std(1, correction=0))
    (-base.log_prob(z).mean()).backward()
    assert base.mean.grad.abs().max() < 1e-3 and base.log_std.grad.abs().max() < 1e-3


@pytest.mark.parametrize("kind", ["likelihood", "nll"])
def test_scale_maps_rise_where_z_is_odd(kind: str) -> None:
    torch.manual_seed(0)
    pyramid = FlowPyramid(FlowConfig(steps=1, norm="none"), [(4, 8, 8)])
    features = 0.1 * torch.randn(1, 4, 8, 8)
    features[0, :, 2, 6] = 9.0
    maps = pyramid.scale_maps([features], (16, 16), kind)
    assert maps.shape == (1, 1, 16, 16)
    row, column = divmod(int(maps[0, 0].argmax()), 16)
    # 3x3 subnets also disturb the neighbours of the odd position, at 2 map pixels each.
    assert 2 <= row <= 7 and 10 <= column <= 15
    if kind == "likelihood":
        assert maps.min() >= -1 and maps.max() <= 0


def test_layer_affine_at_its_own_size_is_layernorm() -> None:
    norm, x = FeatureNorm("layer-affine", (3, 4, 4)), torch.randn(2, 3, 4, 4)
    torch.nn.init.normal_(norm.weight)
    reference = torch.nn.LayerNorm([3, 4, 4])
    reference.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(x), reference(x))


def test_channel_norm_standardises_by_what_it_was_fitted_to() -> None:
    norm = FeatureNorm("channel", (2, 4, 4))
    norm.fit(torch.tensor([3.0, -1.0]), torch.diag(torch.tensor([4.0, 0.0])))
    out = norm(torch.tensor([5.0, -1.0]).view(1, 2, 1, 1))
    assert out.flatten().tolist() == pytest.approx([1.0, 0.0]) and torch.isfinite(out).all()


def test_whitening_decorrelates_what_it_was_fitted_to() -> None:
    torch.manual_seed(0)
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.5, 0.5, 0.0], [0.0, 0.0, 0.0]])  # the third channel is constant
    rows = mixing @ torch.randn(3, 5000) + torch.tensor([[1.0], [-2.0], [7.0]])
    norm = FeatureNorm("whiten", (3, 50, 100))
    norm.fit(rows.mean(1), torch.cov(rows, correction=0))
    white = norm(rows.view(1, 3, 50, 100)).view(3, -1)
    covariance = torch.cov(white, correction=0)
    torch.testing.assert_close(covariance[:2, :2], torch.eye(2), rtol=1e-3, atol=1e-3)
    assert white.mean(1).abs().max() < 1e-3
    assert white[2].abs().max() < 1e-3, "a channel without variation is noise, not a signal to blow up"
