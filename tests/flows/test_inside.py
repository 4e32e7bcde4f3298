"""Positions that do not count: whatever is there, norms, flows and bases learn the same and give the same."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from altub.flows import FlowConfig, FlowPyramid
from altub.flows.alignment import FeatureSums, align_norm, alignments_of, mean_distance, training_moments
from altub.flows.base import latent_moments
from altub.flows.inside import at_size, only_inside
from altub.flows.norm_kinds import NORMS, create_norm
from tests.flows.test_norms import fit

SHAPE = (4, 6, 5)
INSIDE = torch.zeros(6, 5, dtype=torch.bool)
INSIDE[1:4, 1:] = True
FLOWS = [
    {"kind": "fastflow"},
    {"kind": "fastflow", "coupling": "additive", "position_code": 8},
    {"kind": "cflow", "condition": 8},
    {"kind": "cflow", "condition": 8, "loss": "logsigmoid"},
]


def features(count: int = 7) -> Tensor:
    torch.manual_seed(0)
    return 2 * torch.randn(count, *SHAPE) + torch.tensor([1.0, -5.0, 20.0, 0.0]).view(1, 4, 1, 1)


def spoiled(values: Tensor, size: float = 1e3) -> Tensor:
    """The same inside, something else outside."""
    torch.manual_seed(1)
    return torch.where(INSIDE, values, size * torch.randn_like(values))


def limited(norm):
    norm.inside = INSIDE
    return norm


def pyramid_of(flow: dict, norm: str = "position", inside: Tensor | None = INSIDE) -> FlowPyramid:
    torch.manual_seed(2)
    pyramid = FlowPyramid(FlowConfig(steps=3, hidden_ratio=1.0, norm=norm, fibres=16, **flow), [SHAPE])
    for parameter in pyramid.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    pyramid.limit_to([inside])
    return pyramid


@pytest.mark.parametrize("kind", NORMS)
def test_a_norm_neither_learns_from_what_is_outside_nor_lets_it_through(kind: str) -> None:
    clean, found = limited(create_norm(kind, SHAPE)), limited(create_norm(kind, SHAPE))
    if clean.needs_fit:
        fit(clean, features())
        fit(found, spoiled(features()))
    wanted = clean(features())
    assert wanted[:, :, INSIDE].abs().max() > 0 and not wanted[:, :, ~INSIDE].any()
    torch.testing.assert_close(found(spoiled(features())), wanted, rtol=1e-4, atol=1e-4)
    broken = features().masked_fill(~INSIDE, torch.nan)
    if kind not in ("position", "whiten", "channel"):  # their fits look at single positions, the others at an image
        assert torch.isfinite(found(broken)).all()


@pytest.mark.parametrize("kind", NORMS)
def test_a_norm_that_counts_everything_is_the_plain_one(kind: str) -> None:
    plain, whole = create_norm(kind, SHAPE), create_norm(kind, SHAPE)
    whole.inside = torch.ones_like(INSIDE)
    for norm in (plain, whole):
        if norm.needs_fit:
            fit(norm, features())
    torch.testing.assert_close(whole(features()), plain(features()), rtol=1e-5, atol=1e-5)


def test_whitening_is_that_of_the_positions_inside() -> None:
    values = features(200)
    values[:, 0] = torch.where(INSIDE, values[:, 0], 50 * values[:, 1])
    for kind in ("whiten", "position", "channel"):
        white = fit(limited(create_norm(kind, SHAPE)), values)(values)
        rows = only_inside(white, INSIDE).transpose(0, 1).flatten(1)
        torch.testing.assert_close(rows.var(1), torch.ones(4), rtol=0.1, atol=0)


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_likelihood_and_gradient_are_those_of_the_positions_inside(flow: dict) -> None:
    pyramid, x = pyramid_of(flow), features(3)
    fit(pyramid.norms[0], x)
    head, base = pyramid.heads[0], pyramid.bases[0]
    torch.nn.init.normal_(base.mean)
    normalised = pyramid.normalise([x])[0]
    z, log_det = head.transform(normalised)
    shares = (-SHAPE[0] * base.log_prob_map(z) - log_det)[:, INSIDE]
    nll = pyramid.nll([normalised])[0]
    torch.testing.assert_close(nll, shares.mean(1) * INSIDE.numel())
    energy, same = head.energy_and_nll(normalised, base, 0.5)
    torch.testing.assert_close(same, nll)
    assert energy.shape == (3, *INSIDE.shape)

    def gradient(values: Tensor) -> tuple[list[Tensor], float]:
        total, sums = 0.0, [torch.zeros_like(parameter) for parameter in head.parameters()]
        for update in head.train_batch(values, pyramid.norms[0], base, precision=nullcontext, seed=[1]):
            for microbatch in update:
                loss, own = microbatch()
                total += float(own)
                found = torch.autograd.grad(loss, list(head.parameters()))
                sums = [a + b for a, b in zip(sums, found, strict=True)]
        return sums, total

    (wanted, total), (found, again) = gradient(x), gradient(spoiled(x))
    assert total == pytest.approx(float(nll.detach().sum()), rel=1e-4) and again == pytest.approx(total, rel=1e-4)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_likelihood_of_all_positions_is_the_plain_one(flow: dict) -> None:
    plain, whole = pyramid_of(flow, inside=None), pyramid_of(flow, inside=torch.ones_like(INSIDE))
    for pyramid in (plain, whole):
        fit(pyramid.norms[0], features())
    x = features(3)
    torch.testing.assert_close(whole.nll(whole.normalise([x])), plain.nll(plain.normalise([x])), rtol=1e-4, atol=1e-2)
    maps = [pyramid.scale_maps(pyramid.normalise([x]), (12, 10), "mixture") for pyramid in (whole, plain)]
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_maps_inside_and_the_base_do_not_depend_on_what_is_outside(flow: dict) -> None:
    pyramid = pyramid_of(flow)
    fit(pyramid.norms[0], features())
    pixels = at_size(INSIDE, (24, 20))
    found = []
    for values in (features(3), spoiled(features(3))):
        normalised = pyramid.normalise([values])
        moments = latent_moments([pyramid.counted_latents(normalised)])
        maps = pyramid.scale_maps(normalised, (24, 20), "mixture")[:, 0]
        found.append((maps[:, pixels], *moments[0]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert found[0][0].std() > 0


def test_a_pixel_at_the_limit_takes_its_value_from_inside() -> None:
    pyramid = pyramid_of({"kind": "fastflow"})
    energy = torch.where(INSIDE, 3.0, 1000.0)[None]
    scales = pyramid.scale_maps_of([energy], (24, 20), "mixture")[0, 0]
    torch.testing.assert_close(scales[at_size(INSIDE, (24, 20))], torch.full((3 * 4 * 4 * 4,), 3.0))
    assert scales.max() < 3.001


@pytest.mark.parametrize("kind", ["position", "whiten", "channel"])
def test_alignment_looks_at_what_is_inside(kind: str) -> None:
    today = 1.5 * features(40) + 2
    norms, sums = [], []
    for values in (today, spoiled(today)):
        total = FeatureSums(SHAPE, inside=INSIDE)
        for part in values.double().split(9):
            total.add(part)
        sums.append(total + FeatureSums(SHAPE, inside=INSIDE))
    torch.testing.assert_close(sums[0].mean, today[:, :, INSIDE].double().mean((0, 2)))
    for alignment in alignments_of(create_norm(kind, SHAPE)):
        for total in sums:
            norm = fit(limited(create_norm(kind, SHAPE)), features(40))
            align_norm(norm, total, alignment)
            norms.append(norm)
        clean, found = norms[-2:]
        torch.testing.assert_close(found(today), clean(today), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(training_moments(found), training_moments(clean), rtol=1e-4, atol=1e-4)
    if kind == "position":
        assert mean_distance(norms[-1], sums[0]) == pytest.approx(mean_distance(norms[-1], sums[1]))


def test_another_size_takes_the_same_places_of_the_image() -> None:
    larger = at_size(INSIDE, (12, 10))
    assert torch.equal(larger, INSIDE.repeat_interleave(2, 0).repeat_interleave(2, 1))
    norm = fit(limited(create_norm("position", SHAPE)), features())
    out = norm(torch.randn(2, 4, 12, 10))
    assert not out[:, :, ~larger].any() and out[:, :, larger].any()
