"""Optimisers without PyTorch's compiler: the same steps, and it is not imported."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from altub.training.optimisers import uncompiled
from tests.test_package import python


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_the_same_steps(kind: type[torch.optim.Optimizer]) -> None:
    torch.manual_seed(0)
    usual = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    ours, again = copy.deepcopy(usual), copy.deepcopy(usual)
    found = []
    for make, network in ((kind, usual), (uncompiled(kind), ours)):
        groups = [{"params": network[0].parameters()}, {"params": network[1].parameters(), "weight_decay": 0.0}]
        optimiser = make(groups, lr=0.1, weight_decay=0.01)
        assert isinstance(optimiser, kind)
        torch.manual_seed(1)
        for _ in range(4):
            optimiser.zero_grad(set_to_none=True)
            network(torch.randn(6, 5)).square().mean().backward()
            optimiser.step()
        found.append((optimiser, network))
    (theirs, _), (ours_too, _) = found
    assert all(torch.equal(one, two) for one, two in zip(usual.parameters(), ours.parameters(), strict=True))

    # A checkpoint of either is one of the other.
    state = theirs.state_dict()
    torch.testing.assert_close(ours_too.state_dict(), state, rtol=0, atol=0)
    resumed = uncompiled(kind)([{"params": again[0].parameters()}, {"params": again[1].parameters()}], lr=0.5)
    resumed.load_state_dict(state)
    torch.testing.assert_close(resumed.state_dict(), state, rtol=0, atol=0)


STEP = """
import sys, torch
from altub.training.optimisers import uncompiled
for kind in (torch.optim.Adam, torch.optim.SGD):
    weight = torch.ones(3, requires_grad=True)
    optimiser = uncompiled(kind)([weight], lr=0.1)
    weight.sum().backward()
    optimiser.step()
    optimiser.zero_grad()
    optimiser.load_state_dict(optimiser.state_dict())
    assert (weight < 1).all()
print("torch._dynamo" in sys.modules)
"""


def test_the_compiler_is_not_imported() -> None:
    done = python("-c", STEP)
    assert done.stdout == "False\n", done.stderr
