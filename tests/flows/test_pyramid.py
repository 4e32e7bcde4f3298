"""The pyramid of norms, heads and bases: published sizes, likelihood and maps."""

from __future__ import annotations

import pytest
import torch

from altub.flows import FlowPyramid
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
