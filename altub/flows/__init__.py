"""Normalizing flows on feature pyramids."""

from altub.flows.coupling import AffineCoupling
from altub.flows.fastflow import FastFlowHead, FeatureNorm
from altub.flows.pyramid import FlowPyramid

__all__ = ["AffineCoupling", "FastFlowHead", "FeatureNorm", "FlowPyramid"]
