"""Normalizing flows on feature pyramids, and AltUB's learnable base under them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.flows.base import DiagonalGaussian
    from altub.flows.cflow import CFlowHead
    from altub.flows.config import FlowConfig
    from altub.flows.coupling import AffineCoupling
    from altub.flows.fastflow import FastFlowHead, FeatureNorm
    from altub.flows.pyramid import FlowPyramid

__all__ = [
    "AffineCoupling",
    "CFlowHead",
    "DiagonalGaussian",
    "FastFlowHead",
    "FeatureNorm",
    "FlowConfig",
    "FlowPyramid",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "DiagonalGaussian": ".base",
        "CFlowHead": ".cflow",
        "FlowConfig": ".config",
        "AffineCoupling": ".coupling",
        "FastFlowHead": ".fastflow",
        "FeatureNorm": ".fastflow",
        "FlowPyramid": ".pyramid",
    },
)
