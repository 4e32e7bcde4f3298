"""FastFlow's own architecture; what every head must do is in test_head.py."""

from __future__ import annotations

from altub.flows import FastFlowHead, FlowConfig


def test_kernels_alternate() -> None:
    head = FastFlowHead(FlowConfig(steps=4, kernels="3x3/1x1"), (4, 2, 2))
    assert [block.subnet[0].kernel_size[0] for block in head.flow] == [3, 1, 3, 1]
    head = FastFlowHead(FlowConfig(steps=2, kernels="3x3"), (4, 2, 2))
    assert [block.subnet[0].kernel_size[0] for block in head.flow] == [3, 3]
