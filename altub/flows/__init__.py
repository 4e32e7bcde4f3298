"""Normalizing flows on feature pyramids, and AltUB's learnable base under them.

`register_flow` makes a flow of your own known; `FlowHead` is what it must fulfil.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.flows.base import DiagonalGaussian
    from altub.flows.cflow import CFlowHead
    from altub.flows.config import FlowConfig
    from altub.flows.coupling import AdditiveCoupling, AffineCoupling
    from altub.flows.fastflow import FastFlowHead
    from altub.flows.head import FlowHead
    from altub.flows.norm_kinds import create_norm
    from altub.flows.norms import FeatureNorm
    from altub.flows.pyramid import FlowPyramid
    from altub.flows.registry import create_head, flow_names, register_flow

__all__ = [
    "AdditiveCoupling",
    "AffineCoupling",
    "CFlowHead",
    "DiagonalGaussian",
    "FastFlowHead",
    "FeatureNorm",
    "FlowConfig",
    "FlowHead",
    "FlowPyramid",
    "create_head",
    "create_norm",
    "flow_names",
    "register_flow",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "DiagonalGaussian": ".base",
        "CFlowHead": ".cflow",
        "FlowConfig": ".config",
        "AdditiveCoupling": ".coupling",
        "AffineCoupling": ".coupling",
        "FastFlowHead": ".fastflow",
        "FlowHead": ".head",
        "FeatureNorm": ".norms",
        "create_norm": ".norm_kinds",
        "FlowPyramid": ".pyramid",
        "create_head": ".registry",
        "flow_names": ".registry",
        "register_flow": ".registry",
    },
)
