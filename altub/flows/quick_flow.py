"""FastFlow's energies in a form that only scores: the same to rounding, in fewer passes over memory.

A coupling step with its per-channel affine and exchange of channels, then the standardisation by the base, are a dozen
passes over the features, which take as long as half of the convolutions. Most of them are constants that the subnet's
last convolution can hold: with g and b of the affine, c the clamp and sigma the logistic function,

    y1 = x1 * g1 + b1
    y2 = x2 * exp(2 c sigma(a_s') + log g2 - c) + a_t',     a_s' = 0.2 a_s,  a_t' = 0.1 g2 a_t + b2

because tanh(v) = 2 sigma(2 v) - 1. The last step's g and b hold the base's mean and standard deviation as well, and its
exchange of channels does not matter to a mean over them. The log-determinant is left out.

What is folded belongs to the weights that it was folded from: where they were changed since, or lie on another device,
the flow is asked itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from altub.flows.base import DiagonalGaussian
from altub.flows.couple import CACHED_ELEMENTS, SUBNET_FACTOR
from altub.flows.coupling import GLOBAL_AFFINE_BETA, GLOBAL_AFFINE_FACTOR, AffineCoupling
from altub.flows.fastflow import FastFlowHead
from altub.flows.head import FlowHead
from altub.flows.pyramid import FlowPyramid

__all__ = ["QuickEnergies"]

TOLERANCE = 1e-4  # of the largest energy of a trial; rounding is a hundredth of it
TRIAL_IMAGES = 2


@dataclass(frozen=True)
class _Step:
    """Constants of a step.

    Attributes:
        first, second: weight and bias of the subnet's convolutions.
        offset, gain: of the first half of the channels, (1, C1, 1, 1).
        log_scale: log g2 - c, (1, C2, 1, 1).
        halves: which channels of y are the two halves of the next step; None after the last.
    """

    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    padding: int
    offset: Tensor
    gain: Tensor
    log_scale: Tensor
    clamp: float
    halves: tuple[Tensor, Tensor] | None

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        hidden = F.conv2d(x1, *self.first, padding=self.padding).relu_()
        a_s, a_t = F.conv2d(hidden, *self.second, padding=self.padding).chunk(2, dim=1)
        scale = torch.add(self.log_scale, a_s.sigmoid_(), alpha=2 * self.clamp).exp_()
        y = x1.new_empty(len(x1), x1.shape[1] + x2.shape[1], *x1.shape[2:])
        torch.addcmul(self.offset, x1, self.gain, out=y[:, : x1.shape[1]])
        torch.addcmul(a_t, x2, scale, out=y[:, x1.shape[1] :])
        return y


class _QuickFlow:
    """The energies of one scale.

    Args:
        head: one that `_is_foldable`.
    """

    def __init__(self, head: FastFlowHead, base: DiagonalGaussian) -> None:
        steps: list[AffineCoupling] = list(head.flow)
        self._split = steps[0].split
        self._steps = []
        for number, step in enumerate(steps):
            gain = GLOBAL_AFFINE_FACTOR * F.softplus(step.global_scale, beta=GLOBAL_AFFINE_BETA)
            offset, halves = step.global_offset, None
            if number < len(steps) - 1:
                halves = step.permutation.split(steps[number + 1].split)
            else:
                # y[i] = u[permutation[i]]: what standardises y[i] is for the channel permutation[i] of u.
                place = torch.argsort(step.permutation)
                shrink = torch.exp(-base.log_std)[place].view_as(gain)
                offset = (offset - base.mean[place].view_as(gain)) * shrink
                gain = gain * shrink
            self._steps.append(_folded(step, gain, offset, halves))

    def __call__(self, features: Tensor) -> Tensor:
        """(N, H, W) of normalised features (N, C, H, W), some images at a time, so that they stay in a CPU's cache."""
        size = max(CACHED_ELEMENTS // max(features[0].numel(), 1), 1)
        return torch.cat([self._energy(part) for part in features.split(size)])

    def _energy(self, features: Tensor) -> Tensor:
        x1, x2 = features.split(self._split, dim=1)
        for step in self._steps:
            y = step(x1, x2)
            if step.halves is not None:
                x1, x2 = (y.index_select(1, channels) for channels in step.halves)
        return y.square_().mean(1).mul_(0.5)


class QuickEnergies:
    """`FlowPyramid.energy_maps` without log-determinants; scales whose flow has no such form are asked themselves.

    Args:
        pyramid: on a CPU, in eval mode.
    """

    def __init__(self, pyramid: FlowPyramid) -> None:
        with torch.no_grad():
            self._flows = [
                _quick_flow(*parts) for parts in zip(pyramid.heads, pyramid.bases, pyramid.shapes, strict=True)
            ]
        self._pyramid = pyramid
        self._tensors = [*pyramid.heads.parameters(), *pyramid.heads.buffers(), *pyramid.bases.parameters()]
        self._made_of = self._versions()

    def __call__(self, pyramid: FlowPyramid, normalised: Sequence[Tensor]) -> list[Tensor] | None:
        """Per scale (N, h, w); None where the pyramid is no longer what was folded."""
        if pyramid is not self._pyramid or self._versions() != self._made_of:
            return None
        parts = zip(self._flows, pyramid.heads, pyramid.bases, normalised, strict=True)
        return [head.energy(x, base) if flow is None else flow(x) for flow, head, base, x in parts]

    def _versions(self) -> list[tuple[int, int]]:
        """Changes with every change of a weight, by its place in memory and PyTorch's own counter."""
        return [(one.data_ptr(), 0 if one.is_inference() else one._version) for one in self._tensors]


def _quick_flow(head: FlowHead, base: DiagonalGaussian, shape: tuple[int, int, int]) -> _QuickFlow | None:
    """None where the head is another one, or a trial says no."""
    if not _is_foldable(head):
        return None
    flow = _QuickFlow(head, base)
    trial = torch.randn(TRIAL_IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    wanted = head.energy(trial, base)
    return flow if float((flow(trial) - wanted).abs().max()) <= TOLERANCE * float(wanted.abs().max()) else None


def _is_foldable(head: FlowHead) -> bool:
    """Exactly the classes whose mathematics is folded here: one that is derived from them may do more."""
    return (
        type(head) is FastFlowHead
        and not head.config.position_code
        and all(
            type(step) is AffineCoupling
            and step.permutation is not None
            and [type(module) for module in step.subnet] == [nn.Conv2d, nn.ReLU, nn.Conv2d]
            for step in head.flow
        )
    )


def _folded(step: AffineCoupling, gain: Tensor, offset: Tensor, halves: tuple[Tensor, Tensor] | None) -> _Step:
    (gain1, gain2), (offset1, offset2) = gain.split(step.split, dim=1), offset.split(step.split, dim=1)
    first, _, second = step.subnet
    factors = torch.cat((torch.full_like(gain2.flatten(), 2 * SUBNET_FACTOR), SUBNET_FACTOR * gain2.flatten()))
    added = torch.cat((torch.zeros_like(offset2.flatten()), offset2.flatten()))
    return _Step(
        first=(first.weight.detach(), first.bias.detach()),
        second=(second.weight * factors.view(-1, 1, 1, 1), second.bias * factors + added),
        padding=first.kernel_size[0] // 2,
        offset=offset1.contiguous(),
        gain=gain1.contiguous(),
        log_scale=gain2.log() - step.clamp,
        clamp=step.clamp,
        halves=halves,
    )
