"""What every flow head must do, built-in or registered by a user; one test a property."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from altub.flows import FlowConfig, FlowHead, FlowPyramid, create_head
from altub.flows.base import DiagonalGaussian
from altub.flows.coupling import CouplingStep
from altub.flows.head import microbatch_size
from altub.flows.norm_kinds import create_norm
from altub.flows.registry import flow_names
from tests.flows.own import OWN, registered_flow

SHAPE = (4, 3, 2)
VARIANTS = [
    {"kind": "fastflow", "kernels": "3x3"},
    {"kind": "fastflow", "kernels": "3x3/1x1"},
    {"kind": "fastflow", "position_code": 8},
    {"kind": "fastflow", "coupling": "additive"},
    {"kind": "cflow", "condition": 8, "permutation": "hard"},
    {"kind": "cflow", "condition": 8, "permutation": "soft", "loss": "logsigmoid"},
    {"kind": "cflow", "condition": 8, "permutation": "soft", "coupling": "additive"},
    {"kind": OWN, "options": {"slope": 1.5}},
]


@pytest.fixture(autouse=True)
def own_flow():
    with registered_flow():
        yield


@pytest.fixture(params=VARIANTS, ids=lambda flow: "-".join(str(value) for value in flow.values()))
def config(request, own_flow) -> FlowConfig:
    return FlowConfig(steps=3, norm="none", fibres=16, **request.param)


def head_of(config: FlowConfig, shape=SHAPE) -> FlowHead:
    """A head far from its start, in double precision, so that every term counts."""
    torch.manual_seed(0)
    head = create_head(config, shape).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return head


def base_of(channels: int) -> DiagonalGaussian:
    torch.manual_seed(1)
    base = DiagonalGaussian(channels).double()
    torch.nn.init.normal_(base.mean)
    torch.nn.init.normal_(base.log_std, std=0.3)
    return base


def maps(count: int, shape=SHAPE) -> Tensor:
    return torch.randn(count, *shape, dtype=torch.double, generator=torch.Generator().manual_seed(2))


def test_every_registered_kind_is_tested() -> None:
    assert {variant["kind"] for variant in VARIANTS} == set(flow_names())


def test_shapes(config: FlowConfig) -> None:
    head, base = head_of(config), base_of(SHAPE[0])
    z, log_det = head(maps(5))
    assert z.shape == (5, *SHAPE) and log_det.shape == (5,)
    assert head.energy(maps(5), base).shape == (5, *SHAPE[1:])
    assert head(maps(2, (4, 5, 6)))[0].shape == (2, 4, 5, 6), "any map size runs"


def test_inverse_undoes_it(config: FlowConfig) -> None:
    head, x = head_of(config), maps(3)
    z, log_det = head(x)
    back, inverse_log_det = head.inverse(z)
    assert not torch.allclose(z, x, atol=0.1)
    torch.testing.assert_close(back, x, rtol=1e-5, atol=5e-5)  # a rotation is stored in single precision
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=1e-5, atol=1e-5)


def test_log_det_is_that_of_the_jacobian(config: FlowConfig) -> None:
    head, x = head_of(config), maps(1)
    jacobian = torch.autograd.functional.jacobian(lambda value: head(value)[0].flatten(), x)
    expected = torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel()))[1]
    torch.testing.assert_close(head(x)[1][0], expected, rtol=1e-5, atol=1e-5)


def test_the_log_det_of_the_positions_adds_up_where_there_is_one(config: FlowConfig) -> None:
    head, x = head_of(config), maps(3)
    (z, log_det), (same_z, shares) = head(x), head.transform(x)
    torch.testing.assert_close(same_z, z)
    assert (shares is None) is (config.kind == OWN)
    if shares is not None:
        assert shares.shape == (3, *SHAPE[1:])
        same_everywhere = torch.allclose(shares, shares[:1, :1, :1])
        assert same_everywhere is (config.coupling == "additive"), "which has a constant Jacobian"
        torch.testing.assert_close(shares.sum((1, 2)), log_det)
        assert torch.equal(head.log_det_map(x), shares)
        trained = [*head.parameters()]
        wanted = torch.autograd.grad(z.sum() + log_det.square().sum(), trained)
        got = torch.autograd.grad(same_z.sum() + shares.sum((1, 2)).square().sum(), trained)
        torch.testing.assert_close(got, wanted)


def test_an_image_does_not_see_its_batch(config: FlowConfig) -> None:
    head, x = head_of(config), maps(4)
    together, alone = head.energy(x, base_of(4)), head.energy(x[2:3], base_of(4))
    torch.testing.assert_close(together[2:3], alone)


def test_energy_rises_where_a_position_is_unlikely(config: FlowConfig) -> None:
    pyramid = FlowPyramid(config, [(4, 8, 8)])
    x = 0.1 * torch.randn(1, 4, 8, 8)
    x[0, :, 2, 6] = 9.0
    (energy,) = pyramid.energy_maps([x])
    row, column = divmod(int(energy[0].argmax()), 8)
    assert abs(row - 2) <= 1 and abs(column - 6) <= 1  # a 3x3 subnet also disturbs the neighbours


def test_likelihood_falls_with_the_energy_and_calibration_fixes_where_it_begins(config: FlowConfig) -> None:
    head = head_of(config).float()
    energies = torch.tensor([[[3.0, 5.0], [4.0, 3.5]]])
    head.calibrate(energies)
    likelihood = head.likelihood(energies)
    assert likelihood[0, 0, 0] > likelihood[0, 1, 1] > likelihood[0, 0, 1] > 0
    torch.testing.assert_close(likelihood, torch.exp((3.0 if head.needs_calibration else 0.0) - energies))


def test_saved_and_loaded_is_the_same(config: FlowConfig) -> None:
    head, x = head_of(config), maps(2)
    torch.manual_seed(9)
    written = config.model_dump(mode="json")
    for name, unchanged in {"position_code": 0, "coupling": "affine"}.items():
        assert (name in written) is (getattr(config, name) != unchanged), "0.1 refuses settings that it does not know"
    other = create_head(FlowConfig.model_validate(written), SHAPE).double()
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(x)[0], head(x)[0]) and torch.equal(other(x)[1], head(x)[1])


def test_microbatches_give_the_gradient_of_the_whole_update(config: FlowConfig) -> None:
    """Every update of a batch: its microbatches' gradients and likelihoods add up to those of one pass over it."""
    count = 40
    head, base, norm, x = head_of(config), base_of(4), create_norm("none", SHAPE), maps(count)
    updates = [list(update) for update in head.train_batch(x, norm, base, precision=nullcontext, seed=[0, 1, 2, 0])]
    assert len(updates) == (1 if config.kind != "cflow" else round(count * 6 / 16))
    trained = [*head.parameters(), *base.parameters()]
    nll = sum(microbatch()[1] for update in updates for microbatch in update)
    torch.testing.assert_close(nll, (-base.log_prob(head(x)[0]) - head(x)[1]).sum().detach())
    if len(updates) > 1:
        return
    assert len(updates[0]) == -(-count // microbatch_size(x)) > 1
    wanted = torch.autograd.grad((-base.log_prob(head(x)[0]) - head(x)[1]).mean(), trained)
    pieces = [torch.autograd.grad(microbatch()[0], trained) for microbatch in updates[0]]
    for grad, parts in zip(wanted, zip(*pieces, strict=True), strict=True):
        torch.testing.assert_close(sum(parts), grad)


def test_what_is_random_comes_from_the_seed_alone(config: FlowConfig) -> None:
    head, base, norm, x = head_of(config), base_of(4), create_norm("none", SHAPE), maps(8)

    def losses(seed: list[int]) -> list[float]:
        updates = head.train_batch(x, norm, base, precision=nullcontext, seed=seed)
        return [microbatch()[0].item() for update in updates for microbatch in update]

    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = losses([0, 1, 1, 0])
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn from the global generator"
    assert losses([0, 1, 1, 0]) == first
    assert (losses([0, 1, 2, 0]) == first) is (config.kind != "cflow")


def test_a_head_of_coupling_steps_is_made_of_them(config: FlowConfig) -> None:
    if config.kind != OWN:
        assert all(isinstance(step, CouplingStep) for step in create_head(config, SHAPE).flow)


def test_the_contract_says_what_is_missing() -> None:
    class Unfinished(FlowHead):
        def forward(self, features):
            return features, features.new_zeros(len(features))

    with pytest.raises(TypeError, match="inverse"):
        Unfinished(FlowConfig(), SHAPE)
