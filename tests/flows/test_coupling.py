"""The coupling steps: the pinned form, its inverse, its determinant and its hand-written gradient."""

from __future__ import annotations

import math

import pytest
import torch
from FrEIA.modules import AllInOneBlock
from torch import nn

from altub.flows import AdditiveCoupling, AffineCoupling, couple
from altub.flows.coupling import CouplingStep


def subnet(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, out_channels, 3, padding=1))


@pytest.fixture(params=[AffineCoupling, AdditiveCoupling])
def kind(request: pytest.FixtureRequest) -> type[CouplingStep]:
    return request.param


def make(channels: int, kind: type[CouplingStep] = AffineCoupling) -> CouplingStep:
    """A coupling far from its start, so that every term of it counts."""
    torch.manual_seed(0)
    block = kind([(channels, 4, 5)], subnet_constructor=subnet).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    return block


@pytest.mark.parametrize("channels", [2, 5, 8])
def test_inverse_undoes_it(kind: type[CouplingStep], channels: int) -> None:
    block, x = make(channels, kind), torch.randn(3, channels, 4, 5, dtype=torch.double)
    (y,), log_det = block((x,))
    (back,), inverse_log_det = block((y,), rev=True)
    assert y.shape == x.shape and log_det.shape == (3,)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(inverse_log_det, -log_det)
    assert not torch.allclose(y, x, atol=0.1)


@pytest.mark.parametrize("channels", [2, 5])
def test_log_det_is_that_of_the_jacobian(kind: type[CouplingStep], channels: int) -> None:
    block, x = make(channels, kind), torch.randn(1, channels, 4, 5, dtype=torch.double)
    jacobian = torch.autograd.functional.jacobian(lambda value: block((value,))[0][0].flatten(), x)
    expected = torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel()))[1]
    torch.testing.assert_close(block((x,))[1][0], expected)


@pytest.mark.parametrize("by_position", [False, True])
def test_hand_written_gradient_is_the_numerical_one(kind: type[CouplingStep], by_position: bool) -> None:
    block, x = make(4, kind), torch.randn(2, 4, 3, 3, dtype=torch.double, requires_grad=True)

    def run(value: torch.Tensor, *_parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if by_position:
            return block.transform(value)
        (y,), log_det = block((value,))
        return y, log_det

    assert torch.autograd.gradcheck(run, (x, *block.parameters()))  # which are changed in place, one number at a time


@pytest.mark.parametrize("values", [1, 13, 40, 200])  # of x in a block: parts of an image, one, several
@pytest.mark.parametrize("by_position", [False, True])
@pytest.mark.parametrize("permutation", ["hard", "soft"])
def test_blocks_are_the_same_as_all_at_once(
    values: int, by_position: bool, permutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    block = AffineCoupling([(5, 4, 5)], subnet_constructor=subnet, permutation=permutation).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    x = torch.randn(5, 5, 4, 5, dtype=torch.double, requires_grad=True)
    weights = torch.randn(5, *((4, 5) if by_position else ()), dtype=torch.double)

    def run(step) -> list[torch.Tensor]:
        y, log_det = step()
        grads = torch.autograd.grad(y.pow(3).sum() + (weights * log_det).sum(), [x, *block.parameters()])
        return [y, log_det, *grads]

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        if by_position:
            return block.transform(x)
        (y,), log_det = block((x,))
        return y, log_det

    def plain() -> tuple[torch.Tensor, torch.Tensor]:
        gain = block._gain(x)
        y, s = block._plain_step(x, None, gain, by_position=by_position)
        y = y if permutation == "hard" else block._rotate(y, block.rotation)
        return y, s + gain.log().sum() * (1 if by_position else 20)

    monkeypatch.setattr(couple, "CACHED_ELEMENTS", values)
    assert len(couple.blocks(couple.flat(x))) == {1: 100, 13: 50, 40: 15, 200: 3}[values]
    for found, expected in zip(run(ours), run(plain), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("channels", [4, 7])
def test_same_numbers_as_freia_with_its_pypi_clamp(channels: int) -> None:
    ours = make(channels)
    freia = AllInOneBlock([(channels, 4, 5)], subnet_constructor=subnet, affine_clamping=2.0).double()
    freia.subnet.load_state_dict(ours.subnet.state_dict())
    with torch.no_grad():
        freia.global_scale.copy_(ours.global_scale)
        freia.global_offset.copy_(ours.global_offset)
        freia.w_perm.zero_()
        freia.w_perm[torch.arange(channels), ours.permutation] = 1
    x = torch.randn(3, channels, 4, 5, dtype=torch.double)
    results = []
    for block in (ours, freia):
        value = x.clone().requires_grad_()
        (y,), log_det = block((value,))
        (y.square().sum() - log_det.sum()).backward()
        results.append((y, log_det, value.grad, block.subnet[0].weight.grad, block.global_scale.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("by_position", [False, True])
def test_no_image_is_no_trouble(by_position: bool) -> None:
    block, x = make(6), torch.zeros(0, 6, 4, 5, dtype=torch.double, requires_grad=True)
    y, log_det = block.transform(x) if by_position else (block((x,))[0][0], block((x,))[1])
    (grad,) = torch.autograd.grad(y.sum() + log_det.sum(), x)
    assert (y.shape, log_det.shape, grad.shape) == (x.shape, (0, 4, 5) if by_position else (0,), x.shape)


def test_shapes_are_known_without_numbers() -> None:
    block, x = make(6), torch.zeros(2, 6, 4, 5, dtype=torch.double, device="meta", requires_grad=True)
    (y,), log_det = block.to("meta")((x,))
    (grad,) = torch.autograd.grad(y.sum() + log_det.sum(), x)
    assert (y.shape, log_det.shape, grad.shape) == (x.shape, (2,), x.shape)


def test_form_is_pinned() -> None:
    """y2 = x2 * exp(2 tanh(0.1 a_s)) + 0.1 a_t on a case worked out by hand."""
    block = AffineCoupling([(2, 1, 1)], subnet_constructor=lambda i, o: nn.Conv2d(i, o, 1), clamp=2.0)
    with torch.no_grad():
        block.subnet.weight.zero_()
        block.subnet.bias.copy_(torch.tensor([3.0, 7.0]))
        block.permutation.copy_(torch.tensor([1, 0]))
    (y,), log_det = block((torch.tensor([[[[5.0]], [[2.0]]]]),))
    s = 2 * math.tanh(0.3)
    assert y.flatten().tolist() == pytest.approx([2 * math.exp(s) + 0.7, 5.0], rel=1e-5)
    assert log_det.item() == pytest.approx(s, rel=1e-5)


def test_additive_form_is_pinned() -> None:
    """y2 = x2 + 0.1 a_t, half the outputs of a subnet and a determinant that no input changes."""
    block = AdditiveCoupling([(2, 1, 1)], subnet_constructor=lambda i, o: nn.Conv2d(i, o, 1))
    with torch.no_grad():
        block.subnet.weight.fill_(4.0)
        block.subnet.bias.copy_(torch.tensor([7.0]))
        block.permutation.copy_(torch.tensor([1, 0]))
        block.global_scale.fill_(24.0)
    gain = 0.1 * math.log(1 + math.exp(0.5 * 24)) / 0.5
    (y,), log_det = block((torch.tensor([[[[5.0]], [[2.0]]], [[[-1.0]], [[9.0]]]]),))
    assert y.flatten().tolist() == pytest.approx([gain * 4.7, gain * 5, gain * 9.3, gain * -1], rel=1e-5)
    assert log_det.tolist() == pytest.approx([2 * math.log(gain)] * 2, rel=1e-5)


def test_starts_near_a_permutation(kind: type[CouplingStep]) -> None:
    torch.manual_seed(0)
    block, x = kind([(6, 4, 4)], subnet_constructor=subnet), torch.randn(2, 6, 4, 4)
    (y,), log_det = block((x,))
    assert (y - x[:, block.permutation]).abs().max() < 0.5
    assert log_det.abs().max() < 5


def test_needs_channels_to_split_and_its_own_number_of_them() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        AffineCoupling([(1, 4, 4)], subnet_constructor=subnet)
    with pytest.raises(ValueError, match="built for 6 channels, not 4"):
        AffineCoupling([(6, 4, 4)], subnet_constructor=subnet)((torch.zeros(1, 4, 4, 4),))


def test_half_precision_subnets_leave_the_rest_in_full_precision() -> None:
    """Under autocast only the subnets are rounded: the coupling's own arithmetic and log-determinant stay in fp32."""
    block, x = make(6).float(), torch.randn(2, 6, 4, 5)
    (exact,), exact_log_det = block((x,))
    with torch.autocast("cpu", torch.bfloat16):
        (y,), log_det = block((x,))
        (y.sum() + log_det.sum()).backward()
    assert y.dtype == log_det.dtype == torch.float32 and block.subnet[0].weight.grad.dtype == torch.float32
    torch.testing.assert_close(log_det, exact_log_det, rtol=0.02, atol=0.02 * 60)
    # Half of the channels never pass a subnet: they are not rounded at all.
    untouched = block.permutation < block.split[0]
    assert torch.equal(y[:, untouched], exact[:, untouched])
    assert not torch.equal(y[:, ~untouched], exact[:, ~untouched])
