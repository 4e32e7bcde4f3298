"""Normalizing flows on feature pyramids."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from altub.flows.cflow import CFlowHead
    from altub.flows.coupling import AffineCoupling
    from altub.flows.fastflow import FastFlowHead, FeatureNorm
    from altub.flows.pyramid import FlowPyramid

__all__ = ["AffineCoupling", "CFlowHead", "FastFlowHead", "FeatureNorm", "FlowPyramid"]

# Loaded when first used: `altub.flows.options` is read by the settings, which must not wait for torch.
_HOMES = {
    "AffineCoupling": "coupling",
    "CFlowHead": "cflow",
    "FastFlowHead": "fastflow",
    "FeatureNorm": "fastflow",
    "FlowPyramid": "pyramid",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"altub.flows.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'altub.flows' has no attribute {name!r}")
