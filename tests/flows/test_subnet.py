"""Subnets on a CPU with matrix tiles: computed in another way, the same to the rounding of bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from altub.flows import FlowConfig, create_head, subnet
from altub.flows.subnet import ConvolutionSubnet


@pytest.fixture(params=[1, 3])
def network(request: pytest.FixtureRequest) -> ConvolutionSubnet:
    torch.manual_seed(0)
    return ConvolutionSubnet(7, 12, 10, request.param)


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch):
    """Says whether there are any; what they would compute, bfloat16 computes on every CPU, slower."""

    def say(there: bool) -> None:
        monkeypatch.setattr(subnet, "_has_tiles", lambda: there)

    return say


def results(network: nn.Module, maps: Tensor, reduced: bool) -> list[Tensor]:
    """What it answers and its gradients, the input's first."""
    maps = maps.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        answer = network(maps)
    assert answer.dtype == (torch.bfloat16 if reduced else torch.float32)
    weights = torch.linspace(-1, 1, answer.numel()).view_as(answer)
    return [answer.detach(), *torch.autograd.grad((weights * answer.float()).sum(), [maps, *network.parameters()])]


def distance(found: Tensor, exact: Tensor) -> float:
    return float((found.float() - exact).norm() / exact.norm())


def test_the_same_to_rounding(network: ConvolutionSubnet, tiles) -> None:
    maps = torch.randn(3, 7, 39, 26)
    exact = results(network, maps, reduced=False)
    tiles(False)
    usual = results(network, maps, reduced=True)
    tiles(True)
    found = results(network, maps, reduced=True)
    for one, other, true in zip(found, usual, exact, strict=True):
        assert one.shape == true.shape
        assert 1e-5 < distance(one, true) < 1.5 * distance(other, true) + 2e-3
    assert found[0].is_contiguous() and found[1].is_contiguous()
    assert [grad.dtype for grad in found[1:]] == [torch.float32] * 5
    assert all(torch.equal(one, again) for one, again in zip(found, results(network, maps, True), strict=True))


def test_full_precision_is_left_as_it_is(network: ConvolutionSubnet, tiles) -> None:
    maps, before = torch.randn(2, 7, 5, 5), None
    for there in (False, True):
        tiles(there)
        found = results(network, maps, reduced=False)
        assert before is None or all(torch.equal(one, two) for one, two in zip(found, before, strict=True))
        before = found
    assert [*network.state_dict()] == ["0.weight", "0.bias", "2.weight", "2.bias"], "saved models name them so"


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("code", [0, 8])
def test_a_flow_trains_on_tiles(recompute: bool, code: int, tiles) -> None:
    torch.manual_seed(0)
    head = create_head(FlowConfig(steps=4, norm="none", position_code=code), (6, 8, 8))
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.2)
    head.recompute = recompute
    maps, found = torch.randn(4, 6, 8, 8), []
    for there, reduced in ((False, False), (False, True), (True, True)):
        tiles(there)
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            z, log_det = head(maps)
        loss = 0.5 * z.square().sum() - log_det.sum()
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(head.parameters()))]))
    exact, usual, tiled = found
    assert 0 < distance(tiled, exact) < 2 * distance(usual, exact)
