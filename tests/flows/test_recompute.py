"""Activations that are computed again: the same losses bit for bit, gradients to rounding, and less that is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from altub.flows import FlowConfig, FlowHead, FlowPyramid, create_head
from altub.flows.base import DiagonalGaussian
from altub.flows.coupling import AdditiveCoupling, AffineCoupling, CouplingStep
from altub.flows.norm_kinds import create_norm
from altub.flows.recompute import run_steps
from tests.flows.own import OWN, registered_flow

SHAPE = (7, 6, 5)  # an odd number of channels
FLOWS = [
    {"kind": "fastflow"},
    {"kind": "fastflow", "coupling": "additive"},
    {"kind": "fastflow", "position_code": 8, "kernels": "3x3"},
    {"kind": "fastflow", "position_code": 8, "coupling": "additive"},
    {"kind": "cflow", "condition": 8, "permutation": "soft"},
    {"kind": "cflow", "condition": 8, "permutation": "hard", "coupling": "additive"},
]
# Relative distance of all gradients together. Rounding of single precision alone gives about 1e-6.
TOLERANCE = 1e-5


@pytest.fixture(params=FLOWS, ids=lambda flow: "-".join(str(value) for value in flow.values()))
def flow(request: pytest.FixtureRequest) -> dict:
    return request.param


def head_of(flow: dict, steps: int = 5, std: float = 0.3) -> FlowHead:
    """A head far from its start: log-scales up to 1.5."""
    torch.manual_seed(0)
    head = create_head(FlowConfig(steps=steps, norm="none", fibres=32, **flow), SHAPE)
    for name, parameter in head.named_parameters():
        if "global_scale" not in name:
            nn.init.normal_(parameter, std=std)
    return head


def maps(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def distance(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> float:
    found, wanted = (torch.cat([grad.flatten().double() for grad in grads]) for grads in (found, wanted))
    return float((found - wanted).norm() / wanted.norm())


def gradients(head: FlowHead, loss: Callable[[], Tensor], wanted: list[Tensor], recompute: bool):
    head.recompute = recompute
    value = loss()
    return value.detach(), torch.autograd.grad(value, wanted)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("by_position", [False, True])
def test_loss_is_identical_and_gradients_are_to_rounding(flow: dict, by_position: bool, count: int) -> None:
    head, x = head_of(flow), maps(count).requires_grad_()
    weights = torch.randn(count, *SHAPE[1:]) if by_position else torch.randn(count)

    def loss() -> Tensor:
        z, log_det = head.transform(x) if by_position else head(x)
        return z.square().mul(torch.arange(1.0, 8.0).view(1, -1, 1, 1)).sum() - (weights * log_det).sum()

    wanted = [x, *head.parameters()]
    (before, stored), (after, again) = (gradients(head, loss, wanted, recompute) for recompute in (False, True))
    assert torch.equal(after, before)
    for found, expected in zip(again, stored, strict=True):
        assert distance((found,), (expected,)) < 10 * TOLERANCE
    assert distance(again, stored) < TOLERANCE
    assert all(torch.equal(one, two) for one, two in zip(gradients(head, loss, wanted, True)[1], again, strict=True))


@pytest.mark.parametrize("permutation", ["hard", "soft"])
@pytest.mark.parametrize("kind", [AffineCoupling, AdditiveCoupling])
@pytest.mark.parametrize("condition", [0, 4])
def test_every_step_of_maps_in_double_precision(kind: type[CouplingStep], permutation: str, condition: int) -> None:
    torch.manual_seed(0)

    def subnet(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, outputs, 3, padding=1))

    codes = [(condition, 1, 1)] if condition else None
    steps = [kind([SHAPE], codes, subnet_constructor=subnet, permutation=permutation).double() for _ in range(3)]
    for step in steps:
        if permutation == "soft":  # as exact as the rest: its transpose undoes it
            step.rotation.copy_(torch.linalg.qr(step.rotation)[0])
    parameters = [parameter for step in steps for parameter in step.parameters()]
    for parameter in parameters:
        nn.init.normal_(parameter, std=0.5)
    x, code = maps(2).double().requires_grad_(), torch.randn(2, 4, *SHAPE[1:]).double() if condition else None
    found = []
    for recompute in (False, True):
        z, log_det = run_steps(steps, x, code, recompute=recompute)
        found.append(torch.autograd.grad(z.pow(3).sum() + log_det.square().sum(), [x, *parameters]))
    assert distance(found[1], found[0]) < 1e-10


def test_regions(flow: dict) -> None:
    head, base, x = head_of(flow), DiagonalGaussian(SHAPE[0]), maps(3)
    head.inside = torch.zeros(SHAPE[1:], dtype=torch.bool)
    head.inside[1:4, 2:] = True
    wanted = [*head.parameters(), *base.parameters()]
    (before, stored), (after, again) = (
        gradients(head, lambda: head.nll(x, base).mean(), wanted, recompute) for recompute in (False, True)
    )
    assert torch.equal(after, before) and distance(again, stored) < TOLERANCE


@pytest.mark.parametrize("moves", ["first", "last", "scale alone", "input alone"])
def test_parts_of_a_flow_may_be_frozen(moves: str) -> None:
    head, x = head_of(FLOWS[0]), maps(2)
    head.requires_grad_(False)
    chosen = {"first": [*head.flow[0].parameters()], "last": [*head.flow[4].parameters()]}
    chosen |= {"scale alone": [head.flow[2].global_scale], "input alone": [x]}
    for tensor in chosen[moves]:
        tensor.requires_grad_(True)

    def loss() -> Tensor:
        z, log_det = head(x)
        return z.square().sum() - log_det.sum()

    stored, again = (gradients(head, loss, chosen[moves], recompute)[1] for recompute in (False, True))
    assert distance(again, stored) < TOLERANCE


def test_where_the_base_alone_is_trained_nothing_is_computed_again(flow: dict, monkeypatch) -> None:
    head, base, x = head_of(flow).requires_grad_(False), DiagonalGaussian(SHAPE[0]), maps(3)
    monkeypatch.setattr(CouplingStep, "unwind", None)
    found = [gradients(head, lambda: head.nll(x, base).sum(), [*base.parameters()], again)[1] for again in (0, 1)]
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))
    head.requires_grad_(True)
    with pytest.raises(TypeError):
        gradients(head, lambda: head.nll(x, base).sum(), [*head.parameters()], True)


def test_no_gradient_no_node(flow: dict) -> None:
    head, x = head_of(flow), maps(2)
    head.recompute = True
    with torch.no_grad():
        z, log_det = head(x)
    assert z.grad_fn is None and log_det.grad_fn is None


def test_half_precision_subnets_are_computed_again_in_half_precision(flow: dict) -> None:
    """Inputs that come back a little different are rounded differently here and there; that is less than what half
    precision itself changes."""
    head, base, x = head_of(flow, std=0.1), DiagonalGaussian(SHAPE[0]), maps(6)
    wanted = [*head.parameters()]

    def found(recompute: bool, dtype: torch.dtype | None) -> tuple[Tensor, ...]:
        head.recompute = recompute
        with torch.autocast("cpu", dtype) if dtype else nullcontext():
            value = head.nll(x, base).mean()
        return torch.autograd.grad(value, wanted)  # outside, as a training has it

    exact, stored, again = found(False, None), found(False, torch.bfloat16), found(True, torch.bfloat16)
    assert [grad.dtype for grad in again] == [torch.float32] * len(wanted)
    rounding = distance(stored, exact)
    assert rounding > 1e-4
    assert distance(again, stored) < rounding / 2


def test_microbatches_side_by_side_are_those_one_after_the_other(flow: dict) -> None:
    head, base, norm, x = head_of(flow), DiagonalGaussian(SHAPE[0]), create_norm("none", SHAPE), maps(40)
    head.recompute, wanted = True, [*head.parameters(), *base.parameters()]

    def precision():
        return torch.autocast("cpu", torch.bfloat16)

    def run(microbatch) -> tuple[Tensor, ...]:
        return torch.autograd.grad(microbatch()[0], wanted)

    # With a core each, as in a training: how many share a sum shows in its last digits.
    together, alone = (_run_all(head.train_batch(x, norm, base, precision=precision, seed=[0]), run, n) for n in (3, 1))
    for side, one_by_one in zip(together, alone, strict=True):
        assert all(torch.equal(one, two) for one, two in zip(side, one_by_one, strict=True))


def _run_all(updates, run, threads: int) -> list[tuple[Tensor, ...]]:
    (update, *_) = updates
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(run, update))


@contextmanager
def stored_bytes() -> Iterator[Callable[[], int]]:
    """What graphs made inside keep for their backward pass, each piece of memory once; weights are theirs anyway."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # so that no other one takes its place in memory
        return tensor

    held: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield lambda: sum(kept.values())


def test_what_is_stored_grows_with_the_steps_only_where_activations_are(flow: dict) -> None:
    x, base = maps(4), DiagonalGaussian(SHAPE[0])
    stored: dict[bool, list[int]] = {False: [], True: []}
    for recompute, sizes in stored.items():
        for steps in (2, 4, 8):
            head = head_of(flow, steps)
            head.recompute = recompute
            with stored_bytes() as kept:
                head.nll(x, base).mean()
            sizes.append(kept() / (4 * x.numel()))
    two, four, eight = stored[False]
    assert four - two > 3 and eight - four == pytest.approx(2 * (four - two), rel=0.01), "maps of the size of x"
    assert max(stored[True]) == min(stored[True]) < 4


def test_a_weight_that_changed_before_the_backward_pass_is_noticed() -> None:
    head = head_of(FLOWS[0])
    head.recompute = True
    z, _ = head(maps(2))
    with torch.no_grad():
        head.flow[0].subnet[0].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(z.sum(), head.flow[3].global_scale)


def test_a_graph_that_is_compiled_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    head, x = head_of(FLOWS[0]), maps(2)
    head.recompute = True
    assert "_Recomputed" in str(head(x)[0].grad_fn)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert "_Recomputed" not in str(head(x)[0].grad_fn)


def test_a_pyramid_tells_its_heads_and_a_saved_flow_does_not_know() -> None:
    with registered_flow():
        for kind in ("fastflow", "cflow", OWN):
            pyramid = FlowPyramid(FlowConfig(kind=kind, steps=2, norm="none"), [SHAPE, SHAPE])
            names = list(pyramid.state_dict())
            pyramid.recompute_activations(True)
            assert [head.recompute for head in pyramid.heads] == [True, True]
            assert list(pyramid.state_dict()) == names
            assert all(head.recomputes is (kind != OWN) for head in pyramid.heads)
            x = maps(2)
            assert torch.equal(pyramid.latents([x, x])[0][0], pyramid.latents([x, x])[0][0])
