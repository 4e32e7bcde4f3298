"""Modules of shapes without numbers: complete, drawn from nobody's random numbers, and without PyTorch's compiler."""

from __future__ import annotations

import torch
from torch import nn

from altub.device import shapes_alone
from altub.flows import FlowConfig, FlowPyramid
from altub.flows.registry import get_flow
from tests.test_package import python


def test_shapes_are_those_of_the_modules_with_numbers() -> None:
    def build() -> nn.ModuleList:
        pyramid = FlowPyramid(FlowConfig(steps=2, permutation="hard"), [(6, 8, 8), (8, 4, 4)])
        return nn.ModuleList([pyramid, nn.Linear(3, 2), nn.LSTM(3, 2), nn.Bilinear(2, 2, 2)])

    get_flow("fastflow").head_class()  # modules are imported outside of it
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with shapes_alone():
        alone = build()
    assert torch.equal(torch.get_rng_state(), state)
    usual = build()
    wanted = {name: (value.shape, value.dtype) for name, value in usual.state_dict().items()}
    assert {name: (value.shape, value.dtype) for name, value in alone.state_dict().items()} == wanted
    assert all(value.is_meta for value in alone.state_dict().values())
    with torch.device("cpu"):
        assert nn.init.normal_(torch.zeros(9)).std() > 0, "outside of it numbers are drawn"


def test_numbers_that_are_there_are_drawn_within_it_too() -> None:
    there = torch.zeros(50)
    with shapes_alone():
        nn.init.uniform_(there, 1, 2)
    assert there.min() >= 1 and there.std() > 0


def test_the_compiler_is_not_imported() -> None:
    code = """
import sys
from altub.device import shapes_alone
from altub.flows import FlowConfig, FlowPyramid
from altub.flows.registry import get_flow
for kind in ("fastflow", "cflow"):
    get_flow(kind).head_class()
    with shapes_alone():
        FlowPyramid(FlowConfig(kind=kind, steps=2), [(6, 8, 8)])
print("torch._dynamo" in sys.modules)
"""
    assert python("-c", code).stdout == "False\n"
