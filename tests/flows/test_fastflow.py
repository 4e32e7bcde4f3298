"""FastFlow's own architecture; what every head must do is in test_head.py."""

from __future__ import annotations

import torch

from altub.flows import FastFlowHead, FlowConfig


def test_kernels_alternate() -> None:
    head = FastFlowHead(FlowConfig(steps=4, kernels="3x3/1x1"), (4, 2, 2))
    assert [block.subnet[0].kernel_size[0] for block in head.flow] == [3, 1, 3, 1]
    head = FastFlowHead(FlowConfig(steps=2, kernels="3x3"), (4, 2, 2))
    assert [block.subnet[0].kernel_size[0] for block in head.flow] == [3, 3]


def test_the_shares_of_the_positions_add_up_in_single_precision() -> None:
    """At the size of a real scale, with log-determinants of both signs: within 1e-4 of the image's."""
    torch.manual_seed(0)
    head = FastFlowHead(FlowConfig(), (64, 64, 64))
    for step in head.flow:
        torch.nn.init.normal_(step.subnet[2].bias, std=1.0)
        torch.nn.init.normal_(step.global_scale, 19.0, std=2.0)
    x = torch.randn(2, 64, 64, 64)
    with torch.no_grad():
        (z, log_det), (same_z, shares) = head(x), head.transform(x)
    assert torch.equal(same_z, z)
    torch.testing.assert_close(shares.sum((1, 2)), log_det, rtol=1e-4, atol=0)
