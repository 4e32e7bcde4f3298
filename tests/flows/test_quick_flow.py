"""FastFlow in the form that only scores: the same energies, and never those of weights that have changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from altub.flows import FlowConfig, FlowPyramid
from altub.flows.quick_flow import QuickEnergies
from tests.inference.detectors import untrained

SHAPES = ((7, 9, 11), (12, 4, 4))


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def pyramid_of(**settings: object) -> FlowPyramid:
    """With weights as a long training might leave them."""
    torch.manual_seed(0)
    found = FlowPyramid(FlowConfig(**{"steps": 4, **settings}), SHAPES).eval()
    for parameter in [*found.heads.parameters(), *found.bases.parameters()]:
        parameter.add_(torch.randn_like(parameter) * (0.5 if parameter.numel() < 50 else 0.1))
    return found


def features(images: int) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(images, *shape) * 2 for shape in SHAPES]


@pytest.mark.parametrize("settings", [{}, {"kernels": "3x3"}, {"clamp": 1.2, "hidden_ratio": 0.4}, {"steps": 1}])
def test_the_energies_are_those_of_the_flow(settings: dict[str, object]) -> None:
    pyramid, x = pyramid_of(**settings), features(5)
    given = copy.deepcopy(x)
    quick = QuickEnergies(pyramid)
    assert all(flow is not None for flow in quick._flows)
    for found, wanted in zip(quick(pyramid, x), pyramid.energy_maps(x), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(x, given, strict=True)), "features are left as they are"


@pytest.mark.parametrize(
    "settings",
    [{"coupling": "additive"}, {"position_code": 4}, {"kind": "cflow"}, {"kind": "cflow", "permutation": "soft"}],
)
def test_other_flows_are_asked_themselves(settings: dict[str, object]) -> None:
    pyramid, x = pyramid_of(**settings), features(2)
    quick = QuickEnergies(pyramid)
    assert quick._flows == [None, None]
    assert all(torch.equal(a, b) for a, b in zip(quick(pyramid, x), pyramid.energy_maps(x), strict=True))


def test_a_step_of_another_class_is_not_taken_for_the_known_one() -> None:
    pyramid = pyramid_of()
    pyramid.heads[0].flow[1].subnet[1] = nn.GELU()
    quick = QuickEnergies(pyramid)
    assert quick._flows[0] is None and quick._flows[1] is not None


def test_changed_weights_are_noticed() -> None:
    pyramid, x = pyramid_of(), features(2)
    quick = QuickEnergies(pyramid)
    for parameter in (pyramid.bases[1].mean, pyramid.heads[0].flow[2].global_scale):
        parameter += 0.5
        assert quick(pyramid, x) is None
        quick = QuickEnergies(pyramid)
        assert quick(pyramid, x) is not None
    copied, other = copy.deepcopy((quick, pyramid))
    assert quick(other, x) is None and copied(other, x) is None
    pyramid.load_state_dict(pyramid.state_dict())
    assert quick(pyramid, x) is None


def test_an_optimised_detector_follows_its_weights() -> None:
    detector, plain = untrained(map_kind="nll").optimise(), untrained(map_kind="nll")
    images = [torch.rand(3, 64, 64) for _ in range(2)]
    x = detector.backbone(torch.stack(images))
    for change in (0.0, 0.3):
        for one in (detector, plain):
            one.pyramid.bases[0].mean += change
        for found, wanted in zip(
            detector.maps_from_features(x, (64, 64)), plain.maps_from_features(x, (64, 64)), strict=True
        ):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
