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


def test_a_position_code_tells_the_place() -> None:
    """On a map that is the same everywhere, away from its border; at another size as well."""
    spread = {}
    for channels in (0, 8):
        torch.manual_seed(0)
        head = FastFlowHead(FlowConfig(steps=1, position_code=channels), (6, 9, 9))
        assert head.flow[0].subnet[0].out_channels == 3, "a code does not widen the hidden layer"
        for size in (9, 18):
            z = head(torch.ones(1, 6, size, size))[0][..., 2:-2, 2:-2]
            spread[channels, size] = (z.amax((2, 3)) - z.amin((2, 3))).max().item()
    assert max(spread[0, 9], spread[0, 18]) < 1e-5 < 1e-3 < min(spread[8, 9], spread[8, 18])
