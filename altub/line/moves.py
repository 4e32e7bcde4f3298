"""How far an adaptation moved a model: its base and the features' moments before the flow by channel, its flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from altub.flows.alignment import alignments_of, training_moments
from altub.flows.pyramid import FlowPyramid

__all__ = ["Move", "base_moves", "flow_moves", "norm_moves"]


@dataclass(frozen=True, eq=False)
class Move:
    """Of one feature scale.

    Attributes:
        means: (C,) step of each channel's mean, in units of its former sigma.
        log_stds: (C,) step of log sigma.
    """

    means: np.ndarray
    log_stds: np.ndarray

    @property
    def mean(self) -> float:
        """Root mean square over channels."""
        return float(np.sqrt(np.square(self.means).mean()))

    @property
    def log_std(self) -> float:
        """Root mean square over channels."""
        return float(np.sqrt(np.square(self.log_stds).mean()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, of all channels together."""
        return {"mean": self.mean, "log_std": self.log_std}


@torch.no_grad()
def base_moves(before: FlowPyramid, after: FlowPyramid) -> tuple[Move, ...]:
    """Per scale, of mu and sigma."""
    return tuple(
        Move(
            ((new.mean - old.mean) * (-old.log_std).exp()).double().cpu().numpy(),
            (new.log_std - old.log_std).double().cpu().numpy(),
        )
        for old, new in zip(before.bases, after.bases, strict=True)
    )


@torch.no_grad()
def flow_moves(before: FlowPyramid, after: FlowPyramid) -> tuple[float, ...]:
    """Per scale the length of the step of all weights of the flow, as a share of their own; all 0 where none moved."""
    found = []
    for old, new in zip(before.heads, after.heads, strict=True):
        pairs = [(a.double(), b.double()) for a, b in zip(old.parameters(), new.parameters(), strict=True)]
        step = sum(float((b - a).square().sum()) for a, b in pairs)
        size = sum(float(a.square().sum()) for a, _ in pairs)
        found.append((step / size) ** 0.5 if size else 0.0)
    return tuple(found)


@torch.no_grad()
def norm_moves(before: FlowPyramid, after: FlowPyramid) -> tuple[Move, ...]:
    """Per scale, of the mean and standard deviation that the norm takes each channel to have."""
    found = []
    for old, new in zip(before.norms, after.norms, strict=True):
        if not alignments_of(old):
            return ()
        (mean, variances), (new_mean, new_variances) = training_moments(old), training_moments(new)
        std, new_std = variances.clamp_min(0).sqrt(), new_variances.clamp_min(0).sqrt()
        tiny = std.max() * 1e-6  # a channel without a spread moves by no number of them
        steps = torch.where(std > tiny, (new_mean - mean) / std.clamp_min(tiny), torch.zeros_like(mean))
        ratios = (new_std.clamp_min(tiny) / std.clamp_min(tiny)).log()
        found.append(Move(steps.numpy(), torch.where(std > tiny, ratios, torch.zeros_like(ratios)).numpy()))
    return tuple(found)
