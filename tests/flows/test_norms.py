"""Norms in front of a flow: what all have in common, then each one's own meaning."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from altub.errors import ConfigError
from altub.flows.config import FlowConfig, Norm
from altub.flows.norm_kinds import NORMS, create_norm
from altub.flows.norms import FittedNorm

SHAPE = (3, 4, 5)
STATE = {
    "position": {
        "mean": SHAPE,
        "matrix": (3, 3),
        "vectors": (4, 5, 3, 3),
        "gains": (4, 5, 3),
        "rest": (4, 5),
    },
    "layer": {},
    "layer-affine": {"weight": SHAPE, "bias": SHAPE},
    "channel": {"mean": (3,), "std": (3,)},
    "whiten": {"mean": (3,), "matrix": (3, 3)},
    "none": {},
}


def fitted(kind: str, features: torch.Tensor):
    """The norm as a training has it: with its constants taken from features (N, C, H, W)."""
    norm = create_norm(kind, SHAPE)
    return fit(norm, features) if norm.needs_fit else norm


def fit(norm: FittedNorm, features: torch.Tensor) -> FittedNorm:
    task = norm.start_fit()
    for _ in range(9):
        for part in features.split(4):
            task.observe(part)
        if task.end_pass():
            return norm
    raise AssertionError("the norm asks for pass after pass")


def some_features(count: int = 6) -> torch.Tensor:
    torch.manual_seed(0)
    return 3 * torch.randn(count, *SHAPE) + torch.tensor([1.0, -5.0, 20.0]).view(1, 3, 1, 1)


def test_every_norm_of_a_configuration_exists() -> None:
    assert set(NORMS) == set(get_args(FlowConfig.model_fields["norm"].annotation)) == set(get_args(Norm)) == set(STATE)
    with pytest.raises(ConfigError, match="choose one of position"):
        create_norm("batch", SHAPE)


@pytest.mark.parametrize("kind", NORMS)
def test_the_names_on_disk_are_those_of_saved_models(kind: str) -> None:
    assert {name: tuple(value.shape) for name, value in create_norm(kind, SHAPE).state_dict().items()} == STATE[kind]


@pytest.mark.parametrize("kind", NORMS)
def test_shape_stays_and_an_image_does_not_see_its_batch(kind: str) -> None:
    features = some_features()
    norm = fitted(kind, features)
    out = norm(features)
    assert out.shape == features.shape and torch.isfinite(out).all()
    torch.testing.assert_close(norm(features[2:3]), out[2:3])


@pytest.mark.parametrize("kind", NORMS)
def test_another_input_size_runs(kind: str) -> None:
    assert fitted(kind, some_features())(torch.randn(2, 3, 8, 6)).shape == (2, 3, 8, 6)


@pytest.mark.parametrize("kind", [kind for kind in NORMS if kind != "none"])
def test_features_come_to_mean_0_and_variance_1(kind: str) -> None:
    features = some_features(40)
    out = fitted(kind, features)(features)
    assert out.mean().item() == pytest.approx(0, abs=1e-3)
    # By position, what is its own is drawn towards what all have in common.
    assert out.var(correction=0).item() == pytest.approx(1, rel=0.1 if kind == "position" else 1e-2)


@pytest.mark.parametrize("kind", NORMS)
def test_only_the_affine_norm_is_trained_and_only_moments_are_fitted(kind: str) -> None:
    norm = create_norm(kind, SHAPE)
    assert bool(list(norm.parameters())) is (kind == "layer-affine")
    assert norm.needs_fit is isinstance(norm, FittedNorm) is (kind in ("position", "channel", "whiten"))
    assert hasattr(norm, "start_fit") is norm.needs_fit


@pytest.mark.parametrize("kind", NORMS)
def test_saved_and_loaded_is_the_same(kind: str) -> None:
    features = some_features()
    norm, other = fitted(kind, features), create_norm(kind, SHAPE)
    other.load_state_dict(norm.state_dict())
    assert torch.equal(other(features), norm(features))


def test_layer_affine_at_its_own_size_is_layernorm() -> None:
    norm, x = create_norm("layer-affine", (3, 4, 4)), torch.randn(2, 3, 4, 4)
    torch.nn.init.normal_(norm.weight)
    reference = torch.nn.LayerNorm([3, 4, 4])
    reference.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(x), reference(x))


def test_channel_norm_standardises_by_what_it_was_fitted_to() -> None:
    norm = create_norm("channel", (2, 4, 4))
    norm.fit(torch.tensor([3.0, -1.0]), torch.diag(torch.tensor([4.0, 0.0])))
    out = norm(torch.tensor([5.0, -1.0]).view(1, 2, 1, 1))
    assert out.flatten().tolist() == pytest.approx([1.0, 0.0]) and torch.isfinite(out).all()


def test_whitening_decorrelates_what_it_was_fitted_to() -> None:
    torch.manual_seed(0)
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.5, 0.5, 0.0], [0.0, 0.0, 0.0]])  # the third channel is constant
    rows = mixing @ torch.randn(3, 5000) + torch.tensor([[1.0], [-2.0], [7.0]])
    norm = create_norm("whiten", (3, 50, 100))
    norm.fit(rows.mean(1), torch.cov(rows, correction=0))
    white = norm(rows.view(1, 3, 50, 100)).view(3, -1)
    covariance = torch.cov(white, correction=0)
    torch.testing.assert_close(covariance[:2, :2], torch.eye(2), rtol=1e-3, atol=1e-3)
    assert white.mean(1).abs().max() < 1e-3
    assert white[2].abs().max() < 1e-3, "a channel without variation is noise, not a signal to blow up"
